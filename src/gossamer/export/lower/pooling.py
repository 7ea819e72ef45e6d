"""Pooling of images [N, C, H, W], and means and maxima over H and W, which are pooling with one output."""

from dataclasses import replace

from gossamer.export.draft import NO_PADDING, Draft, Padding, Ref, Shape, Unsupported
from gossamer.export.lower.call import Call, Lowering, describe, int_size
from gossamer.graph.strict_json import Json

_NOT_NEGATIVE = frozenset({"relu", "relu6", "sigmoid", "softmax"})


def max_pool2d(call: Call, draft: Draft) -> Ref:
    """Max pooling. Rounding up (ceil_mode) is padding at the end; zeros before it need an input that is
    never negative."""
    x = call.ref()
    call.rank(x, 4)
    kernel, dilation = call.pair("kernel_size"), call.pair("dilation", default=1)
    stride = call.pair("stride") if call.get("stride") else kernel
    window = (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)
    own = call.pair("padding", default=0)
    if any(x.padding):
        node = draft.producer(x.value)
        fits = own == (0, 0) and node is not None and node.op in _NOT_NEGATIVE
        if not fits or any(p > w // 2 for p, w in zip(x.padding, (*window, *window), strict=True)):
            x = draft.view(x, x.shape)
    base = draft.base(x) if any(x.padding) else x.shape
    start = (own[0] + x.padding[0], own[1] + x.padding[1])
    padding = _fitting(call, base, window, stride, start, (own[0] + x.padding[2], own[1] + x.padding[3]))
    attributes: dict[str, Json] = {**_windows(kernel, stride, padding), "dilation": [*dilation]}
    value = draft.settle(x, keep_padding=True)
    return draft.emit("max_pool2d", [value], call.out_shape, attributes=attributes)


def avg_pool2d(call: Call, draft: Draft) -> Ref:
    """Average pooling, with or without the padding counted."""
    x = call.ref()
    call.rank(x, 4)
    kernel = call.pair("kernel_size")
    stride = call.pair("stride") if call.get("stride") else kernel
    own = call.pair("padding", default=0)
    include = call.get("count_include_pad", default=True) is True
    if call.get("divisor_override") not in (None, kernel[0] * kernel[1]):
        raise Unsupported("average pooling with divisor_override", "avg_pool2d that divides by its window")
    limits = (kernel[0] // 2, kernel[1] // 2) * 2
    if any(x.padding):
        small = all(p <= limit for p, limit in zip(x.padding, limits, strict=True))
        if own == (0, 0) and small and not call.get("ceil_mode"):
            include = True
        else:
            x = draft.view(x, x.shape)
    base = draft.base(x) if any(x.padding) else x.shape
    start = (own[0] + x.padding[0], own[1] + x.padding[1])
    end = (own[0] + x.padding[2], own[1] + x.padding[3])
    padding = _fitting(call, base, kernel, stride, start, end)
    # rounded up: torch divides windows that reach beyond the end by what lies inside
    if padding != (*start, *end):
        if any(start) and include:
            raise Unsupported(
                "average pooling with padding, count_include_pad and ceil_mode",
                "avg_pool2d with ceil_mode=False",
            )
        include = False
    attributes: dict[str, Json] = {**_windows(kernel, stride, padding), "count_include_pad": include}
    value = draft.settle(x, keep_padding=True)
    return draft.emit("avg_pool2d", [value], call.out_shape, attributes=attributes)


def adaptive_avg_pool2d(call: Call, draft: Draft) -> Ref:
    """Adaptive average pooling; nothing where the size is right already."""
    x = call.ref()
    call.rank(x, 4)
    return draft.copy(x) if call.out_shape == x.shape else _adaptive(draft, x, call.out_shape)


def adaptive_max_pool2d(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """Adaptive max pooling whose windows are all equal: max pooling. The indices are not computed."""
    x = call.ref()
    call.rank(x, 4)
    return (_blocks_maximum(draft, x, call.out_shape), None)


def mean(call: Call, draft: Draft) -> Ref:
    """Mean over H and W, or over one of them; also over the joined last dimension of a flattened image."""
    x, shape = _image(call, draft, "mean")
    pooled = _adaptive(draft, x, shape) if shape != x.shape else draft.copy(x)
    return draft.view(pooled, call.out_shape, call.node)


def maximum(call: Call, draft: Draft) -> Ref:
    """amax over H and W."""
    x, shape = _image(call, draft, "amax")
    pooled = _blocks_maximum(draft, x, shape) if shape != x.shape else draft.copy(x)
    return draft.view(pooled, call.out_shape, call.node)


def refuse(call: Call, draft: Draft) -> Ref:
    """Pooling of other dimensions."""
    raise Unsupported(
        call.op.removeprefix("aten."), "2-D pooling of [N, C, H, W]; a 1-D pooling has kernel (1, k)"
    )


def _adaptive(draft: Draft, x: Ref, shape: Shape) -> Ref:
    output = [int_size(size) for size in shape[2:]]
    return draft.emit("adaptive_avg_pool2d", [draft.settle(x)], shape, attributes={"output": [*output]})


def _blocks_maximum(draft: Draft, x: Ref, shape: Shape) -> Ref:
    sizes = [int_size(size) for size in (*x.shape[2:], *shape[2:])]
    if sizes[0] % sizes[2] or sizes[1] % sizes[3]:
        raise Unsupported(
            f"adaptive max pooling of {describe(x.shape)} to {describe(shape)} (unequal windows)",
            "max_pool2d, or an output size that divides the input's",
        )
    kernel = (sizes[0] // sizes[2], sizes[1] // sizes[3])
    attributes: dict[str, Json] = {**_windows(kernel, kernel, NO_PADDING), "dilation": [1, 1]}
    return draft.emit("max_pool2d", [draft.settle(x)], shape, attributes=attributes)


def _windows(kernel: tuple[int, int], stride: tuple[int, int], padding: Padding) -> dict[str, Json]:
    return {"kernel": list(kernel), "stride": list(stride), "padding": list(padding)}


def _image(call: Call, draft: Draft, what: str) -> tuple[Ref, Shape]:
    """The image [N, C, H, W] that is reduced, and its shape afterwards, every reduced size being 1."""
    x = call.ref()
    rank, base = len(x.shape), draft.base(x)
    dims = call.get("dim")
    chosen = range(rank) if not dims else [dims] if isinstance(dims, int) else dims
    reduced = {int(dim) % rank for dim in chosen} if isinstance(chosen, list | tuple | range) else set()
    joined = (
        rank == 3 and reduced == {2} and len(base) == 4 and base[:2] == x.shape[:2] and not any(x.padding)
    )
    if joined:
        return replace(x, shape=base, origin=None), (*base[:2], 1, 1)
    if rank != 4 or not reduced <= {2, 3} or call.get("dtype") is not None:
        raise Unsupported(
            f"{what} of {describe(x.shape)} over the dimensions {sorted(reduced)}",
            "a mean over height and width of [N, C, H, W] (dimensions 2 and 3), or adaptive_avg_pool2d",
        )
    return x, tuple(1 if axis in reduced else size for axis, size in enumerate(x.shape))


def _fitting(
    call: Call,
    shape: Shape,
    window: tuple[int, int],
    stride: tuple[int, int],
    start: tuple[int, int],
    end: tuple[int, int],
) -> Padding:
    """The padding that gives the output size of torch: more at the end where it rounded up."""
    ends = []
    for axis in (0, 1):
        size, out = int_size(shape[2 + axis]), int_size(call.out_shape[2 + axis])
        needed = (out - 1) * stride[axis] + window[axis] - size - start[axis]
        floor = (size + start[axis] + end[axis] - window[axis]) // stride[axis] + 1
        ends.append(end[axis] if floor == out else max(needed, 0))
    if any(amount > width // 2 for amount, width in zip(ends, window, strict=True)):
        raise Unsupported("pooling that rounds up beyond half a window (ceil_mode)", "ceil_mode=False")
    return (start[0], start[1], ends[0], ends[1])


LOWERINGS: dict[str, Lowering] = {
    "aten.max_pool2d": max_pool2d,
    "aten.avg_pool2d": avg_pool2d,
    "aten.adaptive_avg_pool2d": adaptive_avg_pool2d,
    "aten.adaptive_max_pool2d": adaptive_max_pool2d,
    "aten.mean": mean,
    "aten.amax": maximum,
    "aten.max_pool1d": refuse,
    "aten.avg_pool1d": refuse,
    "aten.adaptive_avg_pool1d": refuse,
    "aten.max_pool3d": refuse,
    "aten.avg_pool3d": refuse,
}
