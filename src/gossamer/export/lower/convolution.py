"""Convolutions. Weight [O, I / groups, kh, kw] becomes the matrix [O, kh * kw * I / groups], columns
ordered (kh, kw, c_in)."""

from dataclasses import replace

from gossamer.export.draft import Draft, Padding, Ref, Unsupported, conv_attributes
from gossamer.export.lower.call import Call, Lowering, bias_weight, describe, matrix_weight
from gossamer.export.lower.merge import pad_channels


def conv2d(call: Call, draft: Draft) -> Ref:
    """conv2d with numbers or "same" / "valid" for the padding; zeros put around the input before it are
    added to that."""
    if call.get("transposed") is True:
        raise Unsupported("transposed convolution", "conv2d, or pooling and conv2d the other way round")
    x = call.ref()
    call.rank(x, 4)
    weight = call.const("weight")
    assert weight is not None
    if weight.tensor.dim() != 4:
        raise Unsupported(
            f"convolution with a weight of shape {list(weight.tensor.shape)}",
            "conv2d; a 1-D convolution is a conv2d with kernel (1, k) on [N, C, 1, L]",
        )
    kernel = (int(weight.tensor.shape[2]), int(weight.tensor.shape[3]))
    stride, dilation = call.pair("stride", default=1), call.pair("dilation", default=1)
    groups = call.integer("groups", 1)
    padding = _sum(x.padding, _padding(call, kernel, dilation))
    matrix = matrix_weight(call, weight, columns=(2, 3, 1))
    return draft.emit(
        "conv2d",
        [draft.settle(x, keep_padding=True)],
        call.out_shape,
        attributes=conv_attributes(
            kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
        weights=bias_weight(replace(matrix, only_dense=groups > 1), call.vector("bias")),
    )


def pad(call: Call, draft: Draft) -> Ref:
    """Zeros around H and W: they wait for the convolution or pooling that follows."""
    x = call.ref()
    value = call.get("value", default=0)
    if call.get("mode", default="constant") != "constant" or value not in (None, 0, 0.0):
        mode = call.get("mode", default="constant")
        what = f"mode {mode!r}" if mode != "constant" else f"value {value}"
        raise Unsupported(f"padding with {what}", "padding with zeros (mode='constant', value=0)")
    sizes = call.get("pad")
    if not isinstance(sizes, list | tuple) or not all(isinstance(s, int) and s >= 0 for s in sizes):
        raise Unsupported(f"padding by {sizes}", "padding by non-negative numbers")
    amounts = [int(size) for size in sizes]
    if not any(amounts):
        return draft.copy(x)
    if len(x.shape) != 4 or any(amounts[6:]):
        raise Unsupported(
            f"padding {amounts} of a value of shape {describe(x.shape)}",
            "zeros around C, H and W of [N, C, H, W]",
        )
    left, right, top, bottom, before, after = [*amounts, 0, 0, 0, 0][:6]
    if before or after:
        x = pad_channels(draft, x, before, after)
    if not any((left, right, top, bottom)):
        return x
    if not any(x.padding):
        x = draft.copy(replace(x, value=draft.settle(x)))
    return replace(x, shape=call.out_shape, padding=_sum(x.padding, (top, left, bottom, right)))


def refuse(call: Call, draft: Draft) -> Ref:
    """Convolutions of other dimensions."""
    nearest = "conv2d"
    if call.op.endswith("1d"):
        nearest = "conv2d; a 1-D convolution is a conv2d with kernel (1, k) on [N, C, 1, L]"
    raise Unsupported(call.op.removeprefix("aten."), nearest)


def _padding(call: Call, kernel: tuple[int, int], dilation: tuple[int, int]) -> Padding:
    text = call.get("padding")
    if text == "valid":
        return (0, 0, 0, 0)
    if text == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        top, left = totals[0] // 2, totals[1] // 2
        return (top, left, totals[0] - top, totals[1] - left)
    high, wide = call.pair("padding", default=0)
    return (high, wide, high, wide)


def _sum(a: Padding, b: Padding) -> Padding:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


LOWERINGS: dict[str, Lowering] = {
    "aten.conv2d": conv2d,
    "aten.convolution": conv2d,
    "aten.conv1d": refuse,
    "aten.conv3d": refuse,
    "aten.conv_transpose1d": refuse,
    "aten.conv_transpose2d": refuse,
    "aten.conv_transpose3d": refuse,
    "aten.pad": pad,
    "aten.constant_pad_nd": pad,
}
