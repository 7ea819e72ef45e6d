"""Transposed convolution as a plain one: y[i s + t d - p] += x[i] w[t].

The outputs of one phase (position modulo the stride s) form a plain convolution of x; all phases are stacked in its rows, and
`pixel_shuffle` puts them side by side. Tap t, at t d = q s + r, belongs to phase r and looks q inputs back, so the kernel has
max(q) + 1 taps, in the opposite order. What the padding p cuts off is left out in whole inputs, the rest is sliced.
"""

from dataclasses import dataclass

import numpy as np

from gossamer.export.draft import Const, Draft, Padding, Unsupported, conv_attributes
from gossamer.export.layout import Ref, Shape
from gossamer.export.lower.call import Call, Lowering, bias_weight, int_size, to_array
from gossamer.export.lower.convolution import convolution, flat_weight, image, numbers, of_image, out_image
from gossamer.export.lower.select import sliced
from gossamer.export.weight import Weight
from gossamer.graph.strict_json import Json


@dataclass(frozen=True, kw_only=True)
class Line:
    """One dimension: taps of the phases' kernel, zeros before and after, entries to leave out in front."""

    stride: int
    taps: int
    before: int
    after: int
    skip: int


def line(size: int, out: int, *, kernel: int, stride: int, padding: int, dilation: int) -> Line:
    """How one dimension is made.

    >>> line(8, 16, kernel=4, stride=2, padding=1, dilation=1)
    Line(stride=2, taps=2, before=1, after=1, skip=1)
    """
    back = (kernel - 1) * dilation // stride
    whole = min(padding // stride, back)
    skip = padding - whole * stride
    needed = -(-(skip + out) // stride)
    return Line(
        stride=stride, taps=back + 1, before=back - whole, after=max(needed - size + whole, 0), skip=skip
    )


def conv_transpose(call: Call, draft: Draft) -> Ref:
    """conv_transpose1d and conv_transpose2d."""
    weight = call.const("weight")
    assert weight is not None
    flat = weight.tensor.dim() == 3
    weight = flat_weight(weight)
    value, shape = image(call, draft, call.ref(), 3 if flat else 4)
    out = out_image(call.out_shape)
    stride, dilation = numbers(call, "stride", 1, flat), numbers(call, "dilation", 1, flat)
    padding, groups = numbers(call, "padding", 0, flat), call.integer("groups", 1)
    lines = [
        line(
            int_size(shape[2 + i]),
            int_size(out[2 + i]),
            kernel=int(weight.tensor.shape[2 + i]),
            stride=stride[i],
            padding=padding[i],
            dilation=dilation[i],
        )
        for i in (0, 1)
    ]
    phases = stride[0] * stride[1]
    matrix = _matrix(call, weight, lines, dilation, groups)
    bias = call.vector("bias")
    if bias is not None:
        bias = np.tile(bias, phases) if groups == 1 else np.repeat(bias, phases)
    rows = int_size(out[1]) * phases
    around: Padding = (lines[0].before, lines[1].before, lines[0].after, lines[1].after)
    sizes = [int_size(shape[2 + i]) + x.before + x.after - x.taps + 1 for i, x in enumerate(lines)]
    stacked: Shape = (shape[0], rows, *sizes)
    made = draft.emit(
        "conv2d",
        [value],
        stacked,
        attributes=conv_attributes(kernel=(lines[0].taps, lines[1].taps), padding=around, groups=groups),
        weights=bias_weight(matrix, bias),
    )
    if phases > 1:
        attributes: dict[str, Json] = {
            "factor": [*stride],
            "order": "phase_major" if groups == 1 else "channel_major",
        }
        stacked = (shape[0], out[1], sizes[0] * stride[0], sizes[1] * stride[1])
        made = draft.emit("pixel_shuffle", [made], stacked, attributes=attributes)
    for axis, one in ((2, lines[0]), (3, lines[1])):
        lying = draft.shapes[made]
        size, wanted = int_size(lying[axis]), int_size(out[axis])
        if size < one.skip + wanted:
            raise Unsupported("a transposed convolution that reaches beyond its input", "less output padding")
        if size != wanted:
            made = sliced(draft, made, axis, range(one.skip, one.skip + wanted), size)
    return of_image(made, out, flat)


def _matrix(call: Call, weight: Const, lines: list[Line], dilation: tuple[int, int], groups: int) -> Weight:
    """Weight [I, O / groups, kh, kw] as the rows of all phases: phase by phase, or, in groups, channel by channel."""
    values = to_array(weight.tensor)
    kept = np.ones(values.shape, np.bool_) if weight.mask is None else weight.mask.cpu().numpy()
    taken, inside = values.shape[0] // groups, values.shape[1]
    high, wide = lines
    shape = (high.stride, wide.stride, groups, inside, high.taps, wide.taps, taken)
    stacked, mask = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    for i in range(values.shape[2]):
        for j in range(values.shape[3]):
            q, r = divmod(i * dilation[0], high.stride)
            u, s = divmod(j * dilation[1], wide.stride)
            place = (r, s, slice(None), slice(None), high.taps - 1 - q, wide.taps - 1 - u)
            for target, source in ((stacked, values), (mask, kept)):
                part = source[:, :, i, j].reshape(groups, taken, inside).transpose(0, 2, 1)
                target[place] = part
    if groups > 1:
        stacked, mask = (a.transpose(2, 3, 0, 1, 4, 5, 6) for a in (stacked, mask))
    rows = high.stride * wide.stride * groups * inside
    return Weight(
        name=weight.parameter or f"{call.name}.weight",
        values=stacked.reshape(rows, -1),
        mask=None if weight.mask is None and mask.all() else mask.reshape(rows, -1),
        only_dense=groups > 1,
    )


def either(call: Call, draft: Draft) -> Ref:
    """The one operation that torch keeps both as."""
    return conv_transpose(call, draft) if call.get("transposed") is True else convolution(call, draft)


LOWERINGS: dict[str, Lowering] = {
    "aten.convolution": either,
    "aten.conv_transpose1d": conv_transpose,
    "aten.conv_transpose2d": conv_transpose,
}
