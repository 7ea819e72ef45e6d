"""Pooling of images [N, C, H, W] and of sequences [N, C, L], which are images of height 1."""

from gossamer.export.draft import FARTHEST, NO_PADDING, Draft, Padding, Unsupported
from gossamer.export.layout import Ref, Shape
from gossamer.export.lower.activation import affine
from gossamer.export.lower.arithmetic import raised
from gossamer.export.lower.call import Call, Lowering, describe, int_size
from gossamer.export.lower.convolution import (
    added,
    image,
    numbers,
    of_image,
    out_image,
    stripped,
    without_zeros,
)
from gossamer.export.lower.padding import padded
from gossamer.export.lower.pairwise import elementwise
from gossamer.export.lower.reduction import reduce
from gossamer.export.lower.select import join, take
from gossamer.graph.strict_json import Json

_NOT_NEGATIVE = frozenset({"relu", "relu6", "sigmoid", "softmax", "abs", "exp", "hardsigmoid"})


def max_pool(call: Call, draft: Draft) -> Ref:
    """Max pooling. Rounding up (ceil_mode) is padding at the end; zeros before it need an input that is never negative, and
    what is padded with minus infinity is padding."""
    x, flat = call.ref(), _flat(call)
    kernel, stride = _kernel_stride(call, flat)
    dilation = numbers(call, "dilation", 1, flat)
    window = (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)
    own = numbers(call, "padding", 0, flat)
    value, _ = image(call, draft, x, 3 if flat else 4)
    value, around = _around_maximum(draft, value, window, own)
    base = draft.shapes[value]
    start = (own[0] + around[0], own[1] + around[1])
    out = out_image(call.out_shape)
    padding = _fitting(base, out, window, stride, start, (own[0] + around[2], own[1] + around[3]))
    attributes: dict[str, Json] = {**_windows(kernel, stride, padding), "dilation": [*dilation]}
    return of_image(draft.emit("max_pool2d", [value], out, attributes=attributes), out, flat)


def max_pool_with_indices(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """The same; the indices are not computed."""
    return max_pool(call, draft), None


def _around_maximum(
    draft: Draft, value: str, window: tuple[int, int], own: tuple[int, int]
) -> tuple[str, Padding]:
    node = draft.producer(value)
    if node is None or node.op != "pad" or node.attributes["mode"] != "constant" or own != (0, 0):
        return value, NO_PADDING
    maker = draft.producer(node.inputs[0])
    lowest = node.attributes["value"] == -FARTHEST
    zeros = node.attributes["value"] == 0 and maker is not None and maker.op in _NOT_NEGATIVE
    before, around = stripped(draft, value)
    small = all(p <= w // 2 for p, w in zip(around, (*window, *window), strict=True))
    return (before, around) if (lowest or zeros) and small else (value, NO_PADDING)


def avg_pool(call: Call, draft: Draft) -> Ref:
    """Average pooling, with or without the padding counted."""
    x, flat = call.ref(), _flat(call)
    kernel, stride = _kernel_stride(call, flat)
    own = numbers(call, "padding", 0, flat)
    include = call.get("count_include_pad", default=True) is True
    divisor = call.get("divisor_override")
    count = kernel[0] * kernel[1]
    value, _ = image(call, draft, x, 3 if flat else 4)
    inner, around = without_zeros(draft, value)
    limits = (kernel[0] // 2, kernel[1] // 2) * 2
    small = all(p <= limit for p, limit in zip(around, limits, strict=True))
    if any(around) and own == (0, 0) and small and not call.get("ceil_mode"):
        value, include = inner, True
    else:
        around = NO_PADDING
    out = out_image(call.out_shape)
    base = draft.shapes[value]
    if out[2:] == (1, 1) and not any((*own, *around)) and divisor is None and _covers(kernel, base):
        return adaptive_avg_pool(call, draft)
    wanted = added(around, (own[0], own[1], own[0], own[1]))
    padding = _fitting(base, out, kernel, stride, (wanted[0], wanted[1]), (wanted[2], wanted[3]))
    # rounded up: torch divides windows that reach beyond the end by what lies inside
    if padding != wanted:
        if (any(wanted) and include) or divisor is not None:
            raise Unsupported(
                "average pooling with padding, count_include_pad and ceil_mode",
                "avg_pool2d with ceil_mode=False",
            )
        include = False
    attributes: dict[str, Json] = {
        **_windows(kernel, stride, padding),
        "count_include_pad": include if divisor is None else True,
    }
    made = of_image(draft.emit("avg_pool2d", [value], out, attributes=attributes), out, flat)
    return made if not isinstance(divisor, int) else affine(draft, made, count / divisor)


def adaptive_avg_pool(call: Call, draft: Draft) -> Ref:
    """Adaptive average pooling; nothing where the size is right already."""
    x, flat = call.ref(), _flat(call)
    if call.out_shape == x.shape:
        return x
    if flat and call.out_shape[2] == 1:
        return reduce(draft, "mean", x, [2], True)
    value, _ = image(call, draft, x, 3 if flat else 4)
    out = out_image(call.out_shape)
    output = [int_size(size) for size in out[2:]]
    made = draft.emit("adaptive_avg_pool2d", [value], out, attributes={"output": [*output]})
    return of_image(made, out, flat)


def adaptive_max_pool(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """Adaptive max pooling: max pooling where all windows are equal, else a maximum for every window. The indices are not computed."""
    x, flat = call.ref(), _flat(call)
    out = out_image(call.out_shape)
    value, shape = image(call, draft, x, 3 if flat else 4)
    sizes = [int_size(size) for size in (*shape[2:], *out[2:])]
    if sizes[0] % sizes[2] == 0 and sizes[1] % sizes[3] == 0:
        kernel = (sizes[0] // sizes[2], sizes[1] // sizes[3])
        attributes: dict[str, Json] = {**_windows(kernel, kernel, NO_PADDING), "dilation": [1, 1]}
        return of_image(draft.emit("max_pool2d", [value], out, attributes=attributes), out, flat), None
    for dim in range(2, len(x.shape)):
        size, count = int_size(x.shape[dim]), int_size(call.out_shape[dim])
        parts = []
        for i in range(count):
            inside = range(i * size // count, -(-(i + 1) * size // count))
            parts.append(reduce(draft, "max", take(draft, x, dim, inside), [dim], True))
        x = join(draft, parts, dim, (*x.shape[:dim], count, *x.shape[dim + 1 :]))
    return x, None


def local_response(call: Call, draft: Draft) -> Ref:
    """x / (k + alpha * mean of x^2 over neighbouring channels)^beta."""
    x, size = call.ref(), call.integer("size", 5)
    rank = len(x.shape)
    squares = elementwise(draft, "mul", x, x)
    before, after = [0] * rank, [0] * rank
    before[1], after[1] = size // 2, (size - 1) // 2
    wide = padded(draft, squares, before, after)
    channels = int_size(x.shape[1])
    total = take(draft, wide, 1, range(channels))
    for shift in range(1, size):
        total = elementwise(draft, "add", total, take(draft, wide, 1, range(shift, shift + channels)))
    factor = call.number("alpha", 1e-4) / size
    below = raised(draft, affine(draft, total, factor, call.number("k", 1.0)), -call.number("beta", 0.75))
    return elementwise(draft, "mul", x, below)


def avg_pool_3d(call: Call, draft: Draft) -> Ref:
    """The mean of neighbours along the third dimension alone (what F.local_response_norm does)."""
    x, kernel = call.ref(), call.get("kernel_size")
    one: tuple[object, ...] = (None, [], [1], [1, 1, 1], 1)
    if (
        not isinstance(kernel, list)
        or kernel[1:] != [1, 1]
        or call.get("stride") not in one
        or any(_listed(call, "padding"))
    ):
        return refuse(call, draft)
    count = int_size(call.out_shape[2])
    total = take(draft, x, 2, range(count))
    for shift in range(1, int_size(kernel[0])):
        total = elementwise(draft, "add", total, take(draft, x, 2, range(shift, shift + count)))
    return affine(draft, total, 1.0 / int_size(kernel[0]))


def _listed(call: Call, name: str) -> list[object]:
    found = call.get(name)
    return list(found) if isinstance(found, list | tuple) else [found]


def refuse(call: Call, draft: Draft) -> Ref:
    """Pooling of other dimensions."""
    raise Unsupported(call.op.removeprefix("aten."), "pooling of [N, C, H, W] or [N, C, L]")


def _flat(call: Call) -> bool:
    return "1d" in call.op or len(call.ref().shape) == 3


def _kernel_stride(call: Call, flat: bool) -> tuple[tuple[int, int], tuple[int, int]]:
    kernel = numbers(call, "kernel_size", 1, flat)
    return kernel, numbers(call, "stride", 1, flat) if call.get("stride") else kernel


def _covers(kernel: tuple[int, int], shape: Shape) -> bool:
    return all(k >= int_size(size) for k, size in zip(kernel, shape[2:], strict=True))


def _windows(kernel: tuple[int, int], stride: tuple[int, int], padding: Padding) -> dict[str, Json]:
    return {"kernel": list(kernel), "stride": list(stride), "padding": list(padding)}


def _fitting(
    shape: Shape,
    out: Shape,
    window: tuple[int, int],
    stride: tuple[int, int],
    start: tuple[int, int],
    end: tuple[int, int],
) -> Padding:
    """The padding that gives the output size of torch: more at the end where it rounded up."""
    ends = []
    for axis in (0, 1):
        size, count = int_size(shape[2 + axis]), int_size(out[2 + axis])
        needed = (count - 1) * stride[axis] + window[axis] - size - start[axis]
        floor = (size + start[axis] + end[axis] - window[axis]) // stride[axis] + 1
        ends.append(end[axis] if floor == count else max(needed, 0))
    if any(amount > width // 2 for amount, width in zip(ends, window, strict=True)):
        raise Unsupported(
            f"pooling of {describe(shape)} that rounds up beyond half a window (ceil_mode)", "ceil_mode=False"
        )
    return (start[0], start[1], ends[0], ends[1])


LOWERINGS: dict[str, Lowering] = {
    "aten.max_pool1d": max_pool,
    "aten.max_pool2d": max_pool,
    "aten.max_pool1d_with_indices": max_pool_with_indices,
    "aten.max_pool2d_with_indices": max_pool_with_indices,
    "aten.avg_pool1d": avg_pool,
    "aten.avg_pool2d": avg_pool,
    "aten.adaptive_avg_pool1d": adaptive_avg_pool,
    "aten.adaptive_avg_pool2d": adaptive_avg_pool,
    "aten._adaptive_avg_pool2d": adaptive_avg_pool,
    "aten.adaptive_max_pool1d": adaptive_max_pool,
    "aten.adaptive_max_pool2d": adaptive_max_pool,
    "aten.local_response_norm": local_response,
    "aten.max_pool3d": refuse,
    "aten.avg_pool3d": avg_pool_3d,
}
