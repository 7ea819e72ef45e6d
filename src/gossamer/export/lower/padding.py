"""Entries around a value, and parts of a value replaced by something else."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gossamer.export.draft import FARTHEST, Const, Draft, Unsupported
from gossamer.export.layout import Ref, Shape, groups_of, seen
from gossamer.export.lower.call import Call, Lowering, int_size, operand
from gossamer.export.lower.pairwise import elementwise
from gossamer.export.lower.select import join, take
from gossamer.graph.strict_json import Json


def pad(call: Call, draft: Draft) -> Ref:
    """Entries around; negative amounts cut off. A convolution or pooling takes zeros around an image over."""
    x, mode = call.ref(), call.get("mode", default=None)
    name = call.op.removeprefix("aten.")
    for known, meant in (("reflection", "reflect"), ("replication", "replicate")):
        if name.startswith(known):
            mode = meant
    mode = mode or "constant"
    sizes = call.get("pad", "padding")
    if mode not in ("constant", "reflect", "replicate", "circular") or not isinstance(sizes, list | tuple):
        raise Unsupported(
            f"padding with mode {mode!r}", "padding with mode constant, reflect, replicate or circular"
        )
    amounts = [int_size(size) for size in sizes]
    value = call.number("value", 0.0) if mode == "constant" else 0.0
    value = max(min(value, FARTHEST), -FARTHEST)
    rank = len(x.shape)
    before, after = [0] * rank, [0] * rank
    for place in range(len(amounts) // 2):
        low, high = amounts[2 * place : 2 * place + 2]
        dim = rank - 1 - place
        if low < 0 or high < 0:
            size = int_size(x.shape[dim])
            x = take(draft, x, dim, range(max(-low, 0), size - max(-high, 0)))
        before[dim], after[dim] = max(low, 0), max(high, 0)
    if not any((*before, *after)):
        return x
    if any(0 in own and before[place] + after[place] for place, own in enumerate(x.dims)):
        raise Unsupported("padding of the batch", "padding of dimensions that do not hold the batch")
    if mode == "circular":
        return _wrapped(draft, x, before, after)
    return padded(draft, x, before, after, str(mode), value)


def _wrapped(draft: Draft, x: Ref, before: Sequence[int], after: Sequence[int]) -> Ref:
    """The entries of the other end on either side."""
    for dim, (low, high) in enumerate(zip(before, after, strict=True)):
        if low or high:
            size = int_size(x.shape[dim])
            front = [take(draft, x, dim, range(size - low, size))] if low else []
            back = [take(draft, x, dim, range(high))] if high else []
            whole = (*x.shape[:dim], low + size + high, *x.shape[dim + 1 :])
            x = join(draft, [*front, x, *back], dim, whole)
    return x


def padded(
    draft: Draft,
    x: Ref,
    before: Sequence[int],
    after: Sequence[int],
    mode: str = "constant",
    value: float = 0.0,
) -> Ref:
    """Amounts before and after, by the model's dimensions."""
    name, shape, places = draft.lead(x)
    layout = draft.led(x)
    amounts = [[0] * (len(shape) - 1), [0] * (len(shape) - 1)]
    sizes = list(shape)
    for dim, place in enumerate(places):
        if place is not None:
            amounts[0][place - 1], amounts[1][place - 1] = before[dim], after[dim]
            sizes[place] = int_size(sizes[place]) + before[dim] + after[dim]
    attributes: dict[str, Json] = {
        "before": [*amounts[0]],
        "after": [*amounts[1]],
        "mode": mode,
        "value": value,
    }
    made = draft.emit("pad", [name], tuple(sizes), attributes=attributes)
    dims: list[list[int]] = []
    holder = {axis: place for place, group in enumerate(groups_of(shape, layout.axes)) for axis in group}
    for own, place in zip(layout.dims, places, strict=True):
        dims.append([place] if place is not None else [holder[axis] for axis in own])
    return replace(seen(made, tuple(sizes), dims), origin=x.origin)


def triangle(call: Call, draft: Draft) -> Ref:
    """tril and triu: a product with ones and zeros."""
    x, diagonal = call.ref(), call.integer("diagonal")
    rows, columns = (int_size(size) for size in x.shape[-2:])
    ones = np.ones((rows, columns), np.float32)
    kept = np.tril(ones, diagonal) if call.op == "aten.tril" else np.triu(ones, diagonal)
    zero = draft.constant(np.zeros((), np.float32))
    return elementwise(draft, "where", draft.constant(kept), x, zero)


def scatter(call: Call, draft: Draft) -> Ref:
    """A part of a value replaced by another (what an assignment to a slice is)."""
    x, source = call.value(draft, "self", "input"), call.value(draft, "src")
    rank = len(call.out_shape)
    dim = call.integer("dim") % rank
    size = int_size(call.out_shape[dim])
    if call.op == "aten.select_scatter":
        index = call.integer("index") % size
        start, stop, step = index, index + 1, 1
        source = replace(source, dims=(*source.dims[:dim], (), *source.dims[dim:]))
    else:
        first, last = call.get("start"), call.get("end")
        start = 0 if first is None else int_size(first)
        stop = size if last is None else min(int_size(last), size)
        start, stop, step = (
            start % size if start < 0 else start,
            stop % size if stop < 0 else stop,
            call.integer("step", 1),
        )
    if step != 1:
        raise Unsupported("an assignment to every k-th entry", "assignments to slices with step 1")
    if isinstance(call.get("self", "input"), Const):
        x = _with_batch(draft, call.get("self", "input"), source)
    parts = [
        *([take(draft, x, dim, range(start))] if start else []),
        source,
        *([take(draft, x, dim, range(stop, size))] if stop < size else []),
    ]
    return join(draft, parts, dim, call.out_shape)


def _with_batch(draft: Draft, const: object, like: Ref) -> Ref:
    """A constant as a value whose batch is the same dimension as that of `like`."""
    assert isinstance(const, Const)
    ref = operand(draft, const)
    if ref.batch_dim != like.batch_dim:
        raise Unsupported(
            "an assignment to a part of a constant without the batch", "constants of the size of the batch"
        )
    return ref


def copied(call: Call, draft: Draft) -> Ref:
    """What an assignment x[...] = y puts in place of x: y, repeated to the size of x."""
    source = call.value(draft, "src")
    dims: list[tuple[int, ...]] = []
    for dim, have, want in zip(
        _aligned(source, len(call.out_shape)), _sizes(source, call), call.out_shape, strict=True
    ):
        dims.append(dim if have == want else (-int_size(want),))
    return draft.real(replace(source, dims=tuple(dims), origin=call.node))


def _aligned(ref: Ref, rank: int) -> tuple[tuple[int, ...], ...]:
    return ((),) * (rank - len(ref.dims)) + ref.dims


def _sizes(ref: Ref, call: Call) -> Shape:
    return (1,) * (len(call.out_shape) - len(ref.dims)) + ref.shape


LOWERINGS: dict[str, Lowering] = {
    "aten.pad": pad,
    "aten.constant_pad_nd": pad,
    "aten.reflection_pad1d": pad,
    "aten.reflection_pad2d": pad,
    "aten.replication_pad1d": pad,
    "aten.replication_pad2d": pad,
    "aten.tril": triangle,
    "aten.triu": triangle,
    "aten.copy": copied,
    "aten.slice_scatter": scatter,
    "aten.select_scatter": scatter,
}
