"""Convolutions. Weight [O, I / groups, kh, kw] becomes the matrix [O, kh * kw * I / groups], columns
ordered (kh, kw, c_in). One-dimensional ones are images of height 1."""

from dataclasses import replace

import torch

from gossamer.export.draft import NO_PADDING, Const, Draft, Padding, Unsupported, conv_attributes
from gossamer.export.layout import Ref, Shape, seen
from gossamer.export.lower.call import Call, Lowering, bias_weight, describe, int_size, matrix_weight


def convolution(call: Call, draft: Draft) -> Ref:
    """conv1d, conv2d with numbers or "same" / "valid" for the padding; zeros put around the input before it are added to that."""
    weight = call.const("weight")
    assert weight is not None
    flat = weight.tensor.dim() == 3
    weight = flat_weight(weight)
    value, _ = image(call, draft, call.ref(), 3 if flat else 4)
    kernel = (int(weight.tensor.shape[2]), int(weight.tensor.shape[3]))
    stride, dilation = numbers(call, "stride", 1, flat), numbers(call, "dilation", 1, flat)
    groups = call.integer("groups", 1)
    value, around = without_zeros(draft, value)
    padding = added(around, _padding(call, kernel, dilation, flat))
    matrix = matrix_weight(call, weight, columns=(2, 3, 1))
    out = out_image(call.out_shape)
    made = draft.emit(
        "conv2d",
        [value],
        out,
        attributes=conv_attributes(
            kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
        weights=bias_weight(replace(matrix, only_dense=groups > 1), call.vector("bias")),
    )
    return of_image(made, out, flat)


def image(call: Call, draft: Draft, x: Ref, rank: int) -> tuple[str, Shape]:
    """A value [N, C, H, W]; of rank 3, [N, C, L], with height 1."""
    call.rank(x, rank)
    value, shape, places = draft.lead(x)
    if places != [None, *range(1, rank)]:
        raise Unsupported(
            f"{call.op.removeprefix('aten.')} of {describe(x.shape)} whose batch is joined with other sizes or not in front",
            "images [N, C, H, W] or sequences [N, C, L], batch first",
        )
    if rank == 3:
        shape = (*shape[:2], 1, shape[2])
        value = draft.reshape(value, shape)
    return value, shape


def out_image(shape: Shape) -> Shape:
    """The result's shape as an image."""
    return shape if len(shape) == 4 else (*shape[:2], 1, shape[2])


def of_image(value: str, shape: Shape, flat: bool) -> Ref:
    """An image as the model sees it."""
    return seen(value, shape, [[0], [1], [3]] if flat else None)


def flat_weight(weight: Const) -> Const:
    """[O, I, k] as [O, I, 1, k]."""
    if weight.tensor.dim() == 4:
        return weight
    if weight.tensor.dim() != 3:
        raise Unsupported(
            f"convolution with a weight of shape {list(weight.tensor.shape)}", "conv1d or conv2d, batch first"
        )
    mask = None if weight.mask is None else weight.mask.unsqueeze(2)
    shape = (*weight.shape[:2], 1, weight.shape[2])
    return replace(weight, tensor=weight.tensor.unsqueeze(2), shape=shape, mask=mask)


def numbers(call: Call, name: str, default: int, flat: bool) -> tuple[int, int]:
    """A pair for H and W; of a sequence, `default` and its one number."""
    pair = call.pair(name, default=default)
    return (default, pair[1]) if flat else pair


def without_zeros(draft: Draft, value: str) -> tuple[str, Padding]:
    """The value before zeros were put around its height and width, and how many (top, left, bottom, right)."""
    node = draft.producer(value)
    if (
        node is None
        or node.op != "pad"
        or node.attributes["mode"] != "constant"
        or node.attributes["value"] != 0
    ):
        return value, NO_PADDING
    return stripped(draft, value)


def stripped(draft: Draft, value: str) -> tuple[str, Padding]:
    """The value before a `pad` of height and width, and how many."""
    node = draft.producer(value)
    assert node is not None
    before, after = node.attributes["before"], node.attributes["after"]
    assert isinstance(before, list)
    assert isinstance(after, list)
    if len(before) != 3 or before[0] or after[0]:
        return value, NO_PADDING
    top, left, bottom, right = (int_size(size) for size in (before[1], before[2], after[1], after[2]))
    return node.inputs[0], (top, left, bottom, right)


def added(a: Padding, b: Padding) -> Padding:
    """Padding of both."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


def _padding(call: Call, kernel: tuple[int, int], dilation: tuple[int, int], flat: bool) -> Padding:
    text = call.get("padding")
    if text == "valid":
        return (0, 0, 0, 0)
    if text == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        top, left = totals[0] // 2, totals[1] // 2
        return (top, left, totals[0] - top, totals[1] - left)
    high, wide = numbers(call, "padding", 0, flat)
    return (high, wide, high, wide)


def patches(call: Call, draft: Draft) -> Ref:
    """F.unfold: every patch as a column; a convolution whose kernels pick one entry each."""
    kernel, stride = call.pair("kernel_size"), call.pair("stride", default=1)
    dilation, around = call.pair("dilation", default=1), call.pair("padding", default=0)
    value, shape = image(call, draft, call.ref(), 4)
    channels, count = int_size(shape[1]), kernel[0] * kernel[1]
    eye = torch.eye(count).reshape(count, 1, *kernel).repeat(channels, 1, 1, 1)
    const = Const(tensor=eye, shape=tuple(eye.shape), mask=eye != 0)
    weight = matrix_weight(call, const, columns=(2, 3, 1))
    sizes = [
        (int_size(shape[2 + i]) + 2 * around[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    ]
    out: Shape = (shape[0], channels * count, *sizes)
    made = draft.emit(
        "conv2d",
        [value],
        out,
        attributes=conv_attributes(
            kernel=kernel, stride=stride, padding=(*around, *around), dilation=dilation, groups=channels
        ),
        weights={"weight": replace(weight, only_dense=True, of_model=False)},
    )
    return draft.view(seen(made, out), call.out_shape, call.node)


def fold(call: Call, draft: Draft) -> Ref:
    """F.fold of patches that do not overlap: a view."""
    kernel, stride = call.pair("kernel_size"), call.pair("stride", default=1)
    if (
        stride != kernel
        or call.pair("padding", default=0) != (0, 0)
        or call.pair("dilation", default=1) != (1, 1)
    ):
        raise Unsupported("fold of patches that overlap", "patches side by side (stride = kernel_size)")
    n, channels, high, wide = call.out_shape
    rows, columns = int_size(high) // kernel[0], int_size(wide) // kernel[1]
    x = draft.view(call.ref(), (n, channels, *kernel, rows, columns), call.node)
    x = replace(x, dims=tuple(x.dims[place] for place in (0, 1, 4, 2, 5, 3)))
    return draft.view(x, call.out_shape, call.node)


def refuse(call: Call, draft: Draft) -> Ref:
    """Convolutions of other dimensions."""
    raise Unsupported(call.op.removeprefix("aten."), "conv1d, conv2d and their transposes")


LOWERINGS: dict[str, Lowering] = {
    "aten.conv1d": convolution,
    "aten.conv2d": convolution,
    "aten.im2col": patches,
    "aten.col2im": fold,
    "aten.conv3d": refuse,
    "aten.conv_transpose3d": refuse,
}
