"""Taking parts of values, and putting values together."""

from collections.abc import Sequence
from dataclasses import replace

from gossamer.export.draft import Const, Draft, Unsupported
from gossamer.export.layout import Many, Ref, Shape, groups_of, product, seen
from gossamer.export.lower.activation import unary
from gossamer.export.lower.call import Call, Lowering, describe, int_size, operand
from gossamer.export.lower.pairwise import elementwise
from gossamer.graph.strict_json import Json

MAX_INPUTS = 64


def take(draft: Draft, x: Ref, dim: int, chosen: range) -> Ref:
    """The entries `chosen` (ascending) of dimension `dim`."""
    if 0 in x.dims[dim]:
        if chosen == range(len(chosen)) and x.shape[dim] == len(chosen):
            return x
        raise Unsupported("a part of the batch", "parts of dimensions that do not hold the batch")
    size = int_size(x.shape[dim])
    if chosen == range(size):
        return x
    groups = groups_of(draft.base(x), x.axes)
    axes = list(x.dims[dim])
    holder = next((place for place, group in enumerate(groups) if axes and group[: len(axes)] == axes), None)
    if holder is not None and chosen.step == 1:
        # the slowest part of a dimension: a run of it
        inner = product(x.axes[axis] for axis in groups[holder][len(axes) :])
        assert isinstance(inner, int)
        whole = size * inner
        value = sliced(draft, x.value, holder, range(chosen.start * inner, chosen.stop * inner), whole)
    else:
        x, holder = draft.axis(x, dim)
        value = sliced(draft, x.value, holder, chosen, size)
    return _resized(replace(x, value=value), dim, len(chosen))


def _resized(x: Ref, dim: int, size: int) -> Ref:
    """`x` whose dimension has another size; its axes become one."""
    gone = list(x.dims[dim])
    keep = gone[0] if gone else None
    sizes: list[object] = list(x.axes)
    if keep is not None:
        sizes[keep] = size
    left = [axis for axis in range(len(x.axes)) if axis not in gone[1:] and (sizes[axis] != 1 or axis == 0)]
    number = {axis: place for place, axis in enumerate(left)}
    dims = tuple(
        (((number[keep],) if keep in number else ()) if place == dim else tuple(number[axis] for axis in d))
        for place, d in enumerate(x.dims)
    )
    axes: Shape = tuple(size if axis == keep else x.axes[axis] for axis in left)
    return replace(x, axes=axes, dims=dims)


def sliced(draft: Draft, value: str, axis: int, chosen: range, size: int) -> str:
    """`slice` of a dimension of a value; bounds beyond its middle count from the end, so that they hold for other lengths."""
    base = draft.shapes[value]
    last = chosen[-1] + 1
    start, stop = chosen.start, last
    attributes: dict[str, Json] = {
        "axis": axis,
        "start": start,
        "stop": None if last == size or (chosen.step > 1 and last + chosen.step > size) else stop,
        "step": chosen.step,
    }
    shape = (*base[:axis], len(chosen), *base[axis + 1 :])
    return draft.once("slice", value, shape, attributes)


def part(call: Call, draft: Draft) -> Ref:
    """x[:, a:b:s]."""
    x = call.ref()
    dim, step = call.dim(), call.integer("step", 1)
    if x.shape == call.out_shape:
        return x
    start = call.get("start") or 0
    if not isinstance(start, int):
        raise Unsupported(f"a slice from {describe(start)}", "slices with constant bounds")
    if 0 in x.dims[dim]:
        raise Unsupported("a slice of the batch", "slices of dimensions that do not hold the batch")
    size, count = int_size(x.shape[dim]), int_size(call.out_shape[dim])
    start = max(start + size, 0) if start < 0 else start
    if call.op == "aten.narrow":
        step = 1
    return take(draft, x, dim, range(start, start + (count - 1) * step + 1, step))


def select(call: Call, draft: Draft) -> Ref:
    """x[:, i]: a slice of one, without its dimension."""
    x, dim = call.ref(), call.dim()
    index = call.integer("index")
    if 0 in x.dims[dim]:
        raise Unsupported("one example of the batch", "parts of dimensions that do not hold the batch")
    index %= int_size(x.shape[dim])
    one = take(draft, x, dim, range(index, index + 1))
    return replace(one, dims=tuple(d for place, d in enumerate(one.dims) if place != dim))


def split(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """chunk, split and tensor_split: one slice a part."""
    x, dim = call.ref(), call.dim()
    parts: list[Ref | None] = []
    start = 0
    for shape in call.out_shapes:
        size = int_size(shape[dim])
        parts.append(take(draft, x, dim, range(start, start + size)))
        start += size
    return tuple(parts)


def unbind(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """Every entry along a dimension."""
    x, dim = call.ref(), call.dim()
    if 0 in x.dims[dim]:
        raise Unsupported("the examples of the batch one by one", "operations on the whole batch")
    parts = [take(draft, x, dim, range(i, i + 1)) for i in range(int_size(x.shape[dim]))]
    return tuple(replace(p, dims=tuple(d for i, d in enumerate(p.dims) if i != dim)) for p in parts)


def concat(call: Call, draft: Draft) -> Ref:
    """cat along a dimension."""
    tensors = call.get("tensors")
    assert isinstance(tensors, list | tuple)
    kept = [t for t in tensors if not (isinstance(t, Const) and t.tensor.numel() == 0)]
    return join(draft, kept, call.integer("dim") % len(call.out_shape), call.out_shape)


def stack(call: Call, draft: Draft) -> Ref:
    """cat along a new dimension."""
    tensors = call.get("tensors")
    assert isinstance(tensors, list | tuple)
    dim = call.integer("dim") % len(call.out_shape)
    refs = [operand(draft, tensor) for tensor in tensors]
    ones = [replace(ref, dims=(*ref.dims[:dim], (), *ref.dims[dim:])) for ref in refs]
    return join(draft, ones, dim, call.out_shape)


def join(draft: Draft, tensors: Sequence[object], dim: int, shape: Shape) -> Ref:
    """Values side by side along `dim`; more than 64 in several steps."""
    if isinstance(shape[dim], Many):
        raise Unsupported(
            "concatenation along the batch", "concatenation along dimensions that do not hold the batch"
        )
    batch = next((t.batch_dim for t in tensors if isinstance(t, Ref) and t.batch_dim is not None), None)
    refs = [operand(draft, _of_the_only_example(tensor, batch)) for tensor in tensors]
    batch = next((ref.batch_dim for ref in refs if ref.batch_dim is not None), None)
    for ref in refs:
        if ref.batch_dim != batch:
            raise Unsupported(
                "concatenation with a constant that has no batch", "constants expanded to the batch"
            )
    if len(refs) == 1:
        return refs[0]
    together = _lying(draft, refs, dim)
    if together is None:
        refs = [draft.led(draft.real(ref)) for ref in refs]
        bases = [draft.lead(ref) for ref in refs]
        place = bases[0][2][dim]
        assert place is not None
        together = place
        refs = [replace(ref, value=base[0]) for ref, base in zip(refs, bases, strict=True)]
    values = [(ref.value, draft.base(ref)) for ref in refs]
    while len(values) > 1:
        joined = []
        for first in range(0, len(values), MAX_INPUTS):
            few = values[first : first + MAX_INPUTS]
            base = few[0][1]
            size = sum(int_size(lying[together]) for _, lying in few)
            whole: Shape = (*base[:together], size, *base[together + 1 :])
            names = [name for name, _ in few]
            made = (
                names[0]
                if len(few) == 1
                else draft.emit("concat", names, whole, attributes={"axis": together})
            )
            joined.append((made, whole))
        values = joined
    value, base = values[0]
    groups = _places(draft, refs, dim, together)
    return replace(seen(value, base, groups), origin=refs[0].origin)


def _of_the_only_example(tensor: object, batch: int | None) -> object:
    """Where a capture has a fixed batch of 1, a constant's size of 1 there counts as the batch."""
    if not isinstance(tensor, Const) or batch is None or tensor.shape[batch] != 1:
        return tensor
    return replace(tensor, shape=(*tensor.shape[:batch], Many(), *tensor.shape[batch + 1 :]))


def _lying(draft: Draft, refs: Sequence[Ref], dim: int) -> int | None:
    """The place of `dim` in the values where they lie alike and nothing has to move."""
    layouts = set()
    for ref in refs:
        groups = groups_of(draft.base(ref), ref.axes)
        places = []
        for dimension in ref.dims:
            own = [groups.index([axis]) if [axis] in groups else -1 for axis in dimension]
            places.append(tuple(own))
        if any(-1 in own for own in places) or len(ref.dims[dim]) != 1 or ref.repeats:
            return None
        layouts.add((tuple(places), len(groups)))
    return layouts.pop()[0][dim][0] if len(layouts) == 1 else None


def _places(draft: Draft, refs: Sequence[Ref], dim: int, together: int) -> list[list[int]]:
    """The places of the value that every dimension of the model is."""
    ref = next((r for r in refs if r.dims[dim]), refs[0])
    groups = groups_of(draft.base(ref), ref.axes)
    holder = {axis: place for place, group in enumerate(groups) for axis in group}
    places = [sorted({holder[axis] for axis in own}, key=[holder[a] for a in own].index) for own in ref.dims]
    places[dim] = [together]
    return places


def roll(call: Call, draft: Draft) -> Ref:
    """Entries moved round."""
    x, shifts, dims = call.ref(), call.get("shifts"), call.get("dims")
    shifts, dims = ([v] if isinstance(v, int) else list(v or []) for v in (shifts, dims))  # type: ignore[call-overload]
    if not dims:
        raise Unsupported("roll without dimensions", "roll(x, shifts, dims)")
    for shift, dim in zip(shifts, dims, strict=True):
        place = dim % len(x.shape)
        size = int_size(x.shape[place])
        first = -shift % size
        if first:
            parts = [take(draft, x, place, range(first, size)), take(draft, x, place, range(first))]
            x = join(draft, parts, place, x.shape)
    return x


def flip(call: Call, draft: Draft) -> Ref:
    """Entries in the opposite order."""
    x = call.ref()
    for dim in call.dims("dims"):
        x, axis = draft.axis(x, dim)
        x = replace(x, value=draft.emit("flip", [x.value], draft.base(x), attributes={"axes": [axis]}))
    return x


def glu(call: Call, draft: Draft) -> Ref:
    """a * sigmoid(b) of the two halves."""
    x, dim = call.ref(), call.dim(default=-1)
    half = int_size(x.shape[dim]) // 2
    first, second = take(draft, x, dim, range(half)), take(draft, x, dim, range(half, 2 * half))
    return elementwise(draft, "mul", first, unary(draft, "sigmoid", second))


def unfold(call: Call, draft: Draft) -> Ref:
    """x.unfold(dim, size, step): windows that do not overlap are a view, others slices put together."""
    x, size, step = call.ref(), call.integer("size"), call.integer("step", 1)
    dim = call.integer("dimension") % len(x.shape)
    count = int_size(call.out_shape[dim])
    if size == step:
        whole = take(draft, x, dim, range(count * size))
        shape = (*x.shape[:dim], count, size, *x.shape[dim + 1 :])
        opened = draft.view(whole, shape, call.node)
        return replace(opened, dims=(*opened.dims[: dim + 1], *opened.dims[dim + 2 :], opened.dims[dim + 1]))
    parts = [take(draft, x, dim, range(i, i + (count - 1) * step + 1, step)) for i in range(size)]
    parts = [replace(p, dims=(*p.dims, ())) for p in parts]
    return join(draft, parts, len(x.dims), call.out_shape)


LOWERINGS: dict[str, Lowering] = {
    "aten.cat": concat,
    "aten.concat": concat,
    "aten.concatenate": concat,
    "aten.stack": stack,
    "aten.slice": part,
    "aten.narrow": part,
    "aten.select": select,
    "aten.chunk": split,
    "aten.split": split,
    "aten.split_with_sizes": split,
    "aten.tensor_split": split,
    "aten.unsafe_chunk": split,
    "aten.unsafe_split": split,
    "aten.unbind": unbind,
    "aten.roll": roll,
    "aten.flip": flip,
    "aten.unfold": unfold,
    "aten.glu": glu,
}
