"""Other shapes of the same numbers, joining, taking parts, repeating."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gossamer.export.draft import Unsupported
from gossamer.export.onnx.lower.broadcast import same_for_all
from gossamer.export.onnx.lower.reduction import reduced
from gossamer.export.onnx.scope import Call, Lowering, Scope, float_array, weight_name
from gossamer.export.onnx.values import Const, Entry, Ref, Sizes, plain, reshaped_dims, transposed
from gossamer.export.weight import Weight
from gossamer.graph.strict_json import Json

MAX_INPUTS, MAX_PARTS = 64, 16


def identity(call: Call) -> Entry:
    """Identity, and Dropout at inference."""
    return call.ref()


def reshape(call: Call) -> Ref:
    """Reshape: 0 keeps a size, -1 takes what is left."""
    x = call.ref()
    wanted = call.integers(1, "shape") or []
    if not call.get("allowzero", 0):
        wanted = [x.shape[place] if size == 0 else size for place, size in enumerate(wanted)]
    return call.scope.reshape(x, resolved(_freed(call.scope, x, wanted), x.shape))


def _freed(scope: Scope, x: Ref, wanted: list[int]) -> list[int]:
    """Sizes of a file with a fixed batch, for the batch of this walk: that of the batch grows as the batch does."""
    if scope.written in (None, scope.batch):
        return wanted
    written = scope.written or 1
    place = x.group[0]
    if -1 in wanted:
        same = place < len(wanted) and wanted[place] == written
        return [*wanted[:place], scope.batch, *wanted[place + 1 :]] if same else wanted
    if int(np.prod(wanted)) * scope.batch != int(np.prod(x.shape)) * written:
        return wanted
    for index in (place, *range(len(wanted))):
        if index < len(wanted) and wanted[index] % written == 0:
            grown = (*wanted[:index], wanted[index] // written * scope.batch, *wanted[index + 1 :])
            try:
                reshaped_dims(scope.settled(x), grown)
            except Unsupported:
                continue
            return list(grown)
    return wanted


def resolved(wanted: Sequence[int], shape: Sizes) -> Sizes:
    """Sizes with -1 replaced.

    >>> resolved([2, -1], (2, 3, 5))
    (2, 15)
    """
    total, known = int(np.prod(shape)), int(np.prod([size for size in wanted if size != -1]))
    sizes = tuple(total // max(known, 1) if size == -1 else int(size) for size in wanted)
    if int(np.prod(sizes)) != total:
        raise Unsupported(f"a reshape of {list(shape)} to {list(wanted)}", "a reshape to as many elements")
    return sizes


def flatten(call: Call) -> Ref:
    """Flatten to two dimensions."""
    x = call.ref()
    axis = int(call.get("axis", 1))
    axis = axis % x.rank if axis != x.rank else axis
    return call.scope.reshape(x, (int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))))


def squeeze(call: Call) -> Ref:
    """Without dimensions of size 1."""
    x = call.ref()
    axes = call.integers(1, "axes")
    gone = {axis % x.rank for axis in axes} if axes else {i for i, size in enumerate(x.shape) if size == 1}
    return call.scope.reshape(x, tuple(size for place, size in enumerate(x.shape) if place not in gone))


def unsqueeze(call: Call) -> Ref:
    """With new dimensions of size 1. The order of the others stays pending."""
    x = call.ref()
    axes = call.integers(1, "axes") or []
    rank = x.rank + len(axes)
    new = {axis % rank for axis in axes}
    rest = iter(x.shape)
    return call.scope.reshape(x, tuple(1 if place in new else next(rest) for place in range(rank)))


def transpose(call: Call) -> Ref:
    """Only another order, written down where it is needed."""
    x = call.ref()
    return transposed(x, tuple(call.get("perm") or range(x.rank - 1, -1, -1)))


def concat(call: Call) -> Ref:
    """Along any dimension but the batch; constants are repeated for every example."""
    entries = [entry for entry in call.inputs if entry is not None]
    refs = [entry for entry in entries if isinstance(entry, Ref)]
    if any((ref.order, ref.group) != (refs[0].order, refs[0].group) for ref in refs):
        refs = [call.scope.settled(ref) for ref in refs]
    first = refs[0]
    if any((ref.order, ref.group) != (first.order, first.group) for ref in refs):
        raise Unsupported(
            "a concatenation of values whose batch lies in different dimensions", "the batch in one place"
        )
    axis = int(call.get("axis"))
    net = first.net_axis(axis)
    rest = iter(refs)
    names = [next(rest).value if isinstance(e, Ref) else _constant(call.scope, e, first) for e in entries]
    names = [name for name in names if name]
    while len(names) > 1:
        names = [
            _joined(call.scope, names[i : i + MAX_INPUTS], net) for i in range(0, len(names), MAX_INPUTS)
        ]
    shape = call.scope.shape(names[0])
    return replace(first, value=names[0], dims=tuple(shape[place] for place in first.order))


def _joined(scope: Scope, names: list[str], axis: int) -> str:
    if len(names) == 1:
        return names[0]
    shapes = [scope.shape(name) for name in names]
    shape = (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :])
    return scope.emit("concat", names, shape, {"axis": axis})


def _constant(scope: Scope, const: Const, first: Ref) -> str:
    """A constant operand, "" for an empty one."""
    array = const.array
    if array.size == 0:
        return ""
    if first.group[1] - first.group[0] != 1:
        raise Unsupported(
            "a concatenation of a constant with a value whose batch is multiplied", "the batch alone"
        )
    one = same_for_all(array, first.batch).array
    return scope.constant(one.transpose(np.argsort(first.order))[0])


def split(call: Call) -> tuple[Ref | None, ...]:
    """Split into parts of equal or given sizes."""
    x = call.ref()
    axis = int(call.get("axis", 0))
    size, count = x.shape[axis], len(call.node.outputs)
    sizes = call.integers(1, "split")
    if sizes is None:
        step = -(-size // count)
        sizes = [min(step, size - start) for start in range(0, size, step)]
    starts = np.cumsum([0, *sizes])
    return tuple(
        part(call, x, axis, int(start), int(start) + length) if name else None
        for name, start, length in zip(call.node.outputs, starts, sizes, strict=False)
    )


def part(call: Call, x: Ref, axis: int, start: int, stop: int, step: int = 1) -> Ref:
    """x[start:stop:step] along ONNX's dimension `axis`; 0 <= start < stop <= size."""
    size = x.shape[axis]
    if (start, step) == (0, 1) and stop >= size:
        return x
    net = x.net_axis(axis)
    count = len(range(start, min(stop, size), step))
    if count < 1:
        raise Unsupported(
            f"an empty slice {start}:{stop}:{step} of {size}", "slices with at least one element"
        )
    shape = call.scope.shape(x.value)
    attributes: dict[str, Json] = {"axis": net, "start": start, "stop": stop, "step": step}
    value = call.scope.emit("slice", [x.value], (*shape[:net], count, *shape[net + 1 :]), attributes)
    if x.value in call.scope.whole:
        call.scope.whole.add(value)
    place = x.place(axis)
    return replace(x, value=value, dims=(*x.dims[:place], count, *x.dims[place + 1 :]))


def slices(call: Call) -> Ref:
    """Slice; a step of -1 over the whole dimension turns it round."""
    x = call.ref()
    starts, stops = call.integers(1, "starts") or [], call.integers(2, "ends") or []
    axes = call.integers(3, "axes")
    steps = call.integers(4, "steps") or [1] * len(starts)
    for axis, start, stop, step in zip(axes or range(len(starts)), starts, stops, steps, strict=False):
        size = x.shape[axis]
        chosen = range(size)[slice(start, stop, step)]
        if step < 0:
            x = _reversed(call, x, axis, chosen)
        elif chosen != range(size):
            x = part(call, x, axis, chosen.start, chosen.stop, step)
    return x


def _reversed(call: Call, x: Ref, axis: int, chosen: range) -> Ref:
    if len(chosen) < 1:
        raise Unsupported("an empty slice", "slices with at least one element")
    flipped = call.like(x, "flip", {"axes": [x.net_axis(axis)]})
    last = x.shape[axis] - 1
    return part(call, flipped, axis, last - chosen[0], last - chosen[-1] + 1, -chosen.step)


def gather(call: Call) -> Ref:
    """Rows of a constant table are an embedding; constant places of a value are slices."""
    axis = int(call.get("axis", 0))
    table, indices = call.given(0), call.given(1)
    if isinstance(table, Const) and isinstance(indices, Ref):
        return _embedding(call, table, indices, axis)
    x = call.ref()
    places = call.needed(1, "indices").array
    size = x.shape[axis]
    flat = [int(place) % size for place in places.reshape(-1)]
    if places.ndim == 0:
        taken = part(call, x, axis, flat[0], flat[0] + 1)
        shape = tuple(n for place, n in enumerate(call.scope.shape(taken.value)) if place != x.net_axis(axis))
        return reduced(taken, call.scope.as_shape(taken.value, shape), [taken.place(axis)], keep=False)
    if places.ndim != 1:
        raise Unsupported(
            f"Gather with indices of shape {list(places.shape)}", "Gather with one index or a list of them"
        )
    return _taken(call, x, axis % x.rank, flat)


def _taken(call: Call, x: Ref, axis: int, flat: list[int]) -> Ref:
    runs = _runs(flat)
    if len(runs) > MAX_PARTS:
        from gossamer.export.onnx.lower.products import linear

        last = (*(a for a in range(x.rank) if a != axis), axis)
        matrix = np.zeros((len(flat), x.shape[axis]), np.float32)
        matrix[np.arange(len(flat)), flat] = 1.0
        name = call.scope.draft.fresh_name(f"{call.node.name}.selection")
        made = linear(call, transposed(x, last), matrix, name)
        return transposed(made, tuple(int(a) for a in np.argsort(last)))
    parts = [part(call, x, axis, run.start, run.stop) for run in runs]
    name = _joined(call.scope, [item.value for item in parts], x.net_axis(axis))
    shape = call.scope.shape(name)
    return replace(x, value=name, dims=tuple(shape[place] for place in x.order))


def _runs(flat: list[int]) -> list[range]:
    """Consecutive places together.

    >>> _runs([3, 4, 5, 0])
    [range(3, 6), range(0, 1)]
    """
    runs: list[range] = []
    for place in flat:
        if runs and runs[-1].stop == place:
            runs[-1] = range(runs[-1].start, place + 1)
        else:
            runs.append(range(place, place + 1))
    return runs


def _embedding(call: Call, table: Const, indices: Ref, axis: int) -> Ref:
    array = float_array(table.array)
    if axis % array.ndim != 0:
        raise Unsupported(f"Gather along dimension {axis} of a constant", "Gather along the first dimension")
    tail = array.shape[1:]
    matrix = array.reshape(array.shape[0], -1)
    x = call.scope.settled(indices)
    shape = (*call.scope.shape(x.value), matrix.shape[1])
    weights = {"weight": Weight(name=weight_name(table, call), values=matrix)}
    value = call.scope.emit("embedding", [x.value], shape, weights=weights)
    call.scope.vocabularies[x.value] = matrix.shape[0]
    ref = replace(x, value=value, dims=(*x.dims, matrix.shape[1]), order=(*x.order, len(x.dims)))
    return call.scope.reshape(ref, (*ref.shape[:-1], *tail)) if len(tail) != 1 else ref


def expand(call: Call) -> Ref:
    """Expand; sizes of 1 are repeated."""
    x = call.ref()
    wanted = call.integers(1, "shape") or []
    shape = tuple(int(size) for size in np.broadcast_shapes(x.shape, tuple(wanted)))
    from gossamer.export.onnx.lower.broadcast import align

    if shape == x.shape:
        return x
    lifted = align(call.scope, [x, Const(array=np.zeros((1,) * len(shape)))]).like
    place = lifted.group[0]
    if shape[place] != lifted.shape[place]:
        raise Unsupported("an expansion of the batch", "expansions of other dimensions")
    dims = (*shape[:place], *lifted.dims[slice(*lifted.group)], *shape[place + 1 :])
    net = tuple(dims[lifted.order.index(axis)] for axis in range(len(dims)))
    value = call.scope.emit("expand", [lifted.value], net, {"shape": [*net[1:]]})
    return replace(lifted, value=value, dims=dims)


def tile(call: Call) -> Ref:
    """Tile: a concatenation of copies."""
    x = call.ref()
    for axis, times in enumerate(call.integers(1, "repeats") or []):
        if times == 1:
            continue
        net = x.net_axis(axis)
        name = _joined(call.scope, [x.value] * times, net) if times <= MAX_INPUTS else ""
        if not name:
            raise Unsupported(f"Tile by {times}", f"Tile by at most {MAX_INPUTS}")
        shape = call.scope.shape(name)
        x = replace(x, value=name, dims=tuple(shape[place] for place in x.order))
    return x


LOWERINGS: dict[str, Lowering] = {
    "Identity": identity,
    "Dropout": identity,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slices,
    "Gather": gather,
    "Expand": expand,
    "Tile": tile,
}
__all__ = ["LOWERINGS", "plain", "resolved"]
