"""Joining values, and taking parts of them.

Channels are picked and moved by a product with a matrix of ones and zeros (a 1x1 convolution with one kept
weight a row), a stride over H and W is average pooling with a 1x1 window: both are exact.
"""

from dataclasses import replace

from gossamer.export.draft import NO_PADDING, Draft, Ref, Unsupported
from gossamer.export.lower.call import Call, Lowering, describe, int_size
from gossamer.export.lower.linear import along_channels, along_last, selection
from gossamer.graph.strict_json import Json

MAX_INPUTS = 64


def concat(call: Call, draft: Draft) -> Ref:
    """cat along a dimension after the batch; more than 64 values in several steps."""
    tensors = call.get("tensors")
    assert isinstance(tensors, list | tuple)
    refs = [tensor for tensor in tensors if isinstance(tensor, Ref)]
    if len(refs) < len(tensors):
        raise Unsupported("concatenation with a constant", "concatenation of values that depend on the input")
    axis = call.integer("dim") % len(call.out_shape)
    if axis == 0:
        raise Unsupported("concatenation along the batch", "concatenation along a dimension after the first")
    values = [(draft.settle(ref), int_size(ref.shape[axis])) for ref in refs]
    while len(values) > 1:
        joined = []
        for first in range(0, len(values), MAX_INPUTS):
            part = values[first : first + MAX_INPUTS]
            size = sum(width for _, width in part)
            shape = (*call.out_shape[:axis], size, *call.out_shape[axis + 1 :])
            names = [name for name, _ in part]
            made = (
                part[0][0]
                if len(part) == 1
                else draft.emit("concat", names, shape, attributes={"axis": axis}).value
            )
            joined.append((made, size))
        values = joined
    whole = replace(refs[0], value=values[0][0], shape=call.out_shape, padding=NO_PADDING, origin=None)
    return draft.copy(whole)


def chunk(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """chunk and split: one selection a part."""
    x, axis = call.ref(), call.integer("dim") % len(call.ref().shape)
    parts: list[Ref | None] = []
    start = 0
    for shape in call.out_shapes:
        size = int_size(shape[axis])
        parts.append(take(call, draft, x, axis, range(start, start + size)))
        start += size
    return tuple(parts)


def part(call: Call, draft: Draft) -> Ref:
    """x[:, a:b:s]."""
    x = call.ref()
    axis, step = call.integer("dim") % len(x.shape), call.integer("step", 1)
    if x.shape == call.out_shape:
        return x
    if axis == 0:
        raise Unsupported("a slice of the batch", "slices of dimensions after the first")
    start = call.get("start") or 0
    if not isinstance(start, int):
        raise Unsupported(f"a slice from {describe(start)}", "slices with constant bounds")
    size, count = int_size(x.shape[axis]), int_size(call.out_shape[axis])
    start = max(start + size, 0) if start < 0 else start
    return take(call, draft, x, axis, range(start, start + count * step, step))


def select(call: Call, draft: Draft) -> Ref:
    """x[:, i]: a slice of one, without its dimension."""
    x = call.ref()
    axis, index = call.integer("dim") % len(x.shape), call.integer("index")
    if axis == 0:
        raise Unsupported("one example of the batch", "slices of dimensions after the first")
    index %= int_size(x.shape[axis])
    return draft.view(take(call, draft, x, axis, range(index, index + 1)), call.out_shape, call.node)


def take(call: Call, draft: Draft, x: Ref, axis: int, chosen: range) -> Ref:
    """The elements `chosen` of dimension `axis`."""
    size = int_size(x.shape[axis])
    if chosen == range(size):
        return x
    rank = len(x.shape)
    if rank == 4 and axis in (2, 3) and chosen.start == 0 and (size - 1) // chosen.step + 1 == len(chosen):
        stride = [chosen.step if place == axis else 1 for place in (2, 3)]
        shape = (*x.shape[:axis], len(chosen), *x.shape[axis + 1 :])
        attributes: dict[str, Json] = {
            "kernel": [1, 1],
            "stride": [*stride],
            "padding": [0, 0, 0, 0],
            "count_include_pad": False,
        }
        return replace(
            draft.emit("avg_pool2d", [draft.settle(x)], shape, attributes=attributes), part_of=x.storage
        )
    name = draft.fresh_name(draft.current or "select")
    weights = {"weight": selection(name, size, chosen)}
    if axis == rank - 1:
        return replace(along_last(draft, x, weights, reserved=name), part_of=x.storage)
    if axis == 1 and rank == 4:
        return replace(along_channels(draft, x, weights, reserved=name), part_of=x.storage)
    raise Unsupported(
        f"taking {len(chosen)} of {size} along dimension {axis} of {describe(x.shape)}",
        "a choice of channels, of features, or every k-th row or column of an image starting at the first",
    )


def pad_channels(draft: Draft, x: Ref, before: int, after: int) -> Ref:
    """Channels of zeros before and after those of `x`."""
    size = int_size(x.shape[1])
    name = draft.fresh_name(draft.current or "pad")
    weight = selection(name, size, range(size), rows=before + size + after, first=before)
    return along_channels(draft, x, {"weight": weight}, reserved=name)


LOWERINGS: dict[str, Lowering] = {
    "aten.cat": concat,
    "aten.concat": concat,
    "aten.concatenate": concat,
    "aten.slice": part,
    "aten.select": select,
    "aten.narrow": part,
    "aten.chunk": chunk,
    "aten.split": chunk,
    "aten.split_with_sizes": chunk,
    "aten.tensor_split": chunk,
}
