"""Convolutions of images and, as images of height 1, of sequences. A weight [O, I / groups, kh, kw] becomes the matrix
[O, kh kw I / groups]; a transposed convolution is rewritten (see `transposed`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gossamer.export.draft import Unsupported, conv_attributes
from gossamer.export.onnx.scope import Call, Lowering, float_array, weight_name
from gossamer.export.onnx.values import Const, Ref, Sizes, plain
from gossamer.export.weight import Weight, sibling
from gossamer.graph.strict_json import Json

Pads = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True, kw_only=True)
class Image:
    """An input as an image [N, C, H, W] and how to give the result back."""

    value: str
    shape: Sizes
    flat: bool

    def result(self, call: Call, value: str) -> Ref:
        """The result, without the height where the input had none."""
        shape = call.scope.shape(value)
        if not self.flat:
            return plain(value, shape)
        short = (*shape[:2], shape[3])
        return plain(call.scope.as_shape(value, short), short)


@dataclass(frozen=True, kw_only=True)
class Window:
    """Kernel, stride, dilation over (H, W)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def reach(self) -> tuple[int, int]:
        """Pixels from the first to the last tap, the last included."""
        return (
            (self.kernel[0] - 1) * self.dilation[0] + 1,
            (self.kernel[1] - 1) * self.dilation[1] + 1,
        )


def image(call: Call, index: int = 0) -> Image:
    """The input as an image."""
    ref = call.ref(index)
    if ref.rank not in (3, 4):
        raise Unsupported(
            f"{call.op} of a value of shape {list(ref.shape)}", f"{call.op} of [N, C, L] or [N, C, H, W]"
        )
    value = call.scope.plain(ref, 3, 4)
    shape = call.scope.shape(value)
    if len(shape) == 3:
        shape = (*shape[:2], 1, shape[2])
        return Image(value=call.scope.as_shape(value, shape), shape=shape, flat=True)
    return Image(value=value, shape=shape, flat=False)


def window(call: Call, kernel: Any, flat: bool) -> Window:
    """The window's sizes; a missing height is 1."""
    rank = 1 if flat else 2
    found = [
        [int(item) for item in values]
        for values in (kernel, call.get("strides") or [1] * rank, call.get("dilations") or [1] * rank)
    ]
    if any(len(values) != rank for values in found):
        raise Unsupported(
            f"{call.op} with a kernel of shape {found[0]}", f"{call.op} over one or two dimensions"
        )
    pairs = [(1, values[0]) if flat else (values[0], values[1]) for values in found]
    return Window(kernel=pairs[0], stride=pairs[1], dilation=pairs[2])


def padding(call: Call, source: Image, w: Window) -> Pads:
    """Explicit pads, or those that `auto_pad` stands for."""
    auto = call.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        pads = [int(item) for item in call.get("pads") or [0] * (2 if source.flat else 4)]
        if any(item < 0 for item in pads):
            raise Unsupported(f"{call.op} with the pads {pads}", "pads of at least 0; Slice takes rows away")
        return (0, pads[0], 0, pads[1]) if source.flat else (pads[0], pads[1], pads[2], pads[3])
    if auto == "VALID":
        return (0, 0, 0, 0)
    ends = []
    for size, reach, stride in zip(source.shape[2:], w.reach, w.stride, strict=True):
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        ends.append(
            (total // 2, total - total // 2) if auto == "SAME_UPPER" else (total - total // 2, total // 2)
        )
    return (ends[0][0], ends[1][0], ends[0][1], ends[1][1])


def spatial(shape: Sizes, w: Window, pads: Pads, *, ceil: bool = False) -> Sizes:
    """Height and width of the result."""
    sizes = []
    for place in (0, 1):
        room = shape[2 + place] + pads[place] + pads[place + 2] - w.reach[place]
        if room < 0:
            raise Unsupported(
                f"a window of {w.kernel} over {list(shape[2:])}", "windows that fit into the padded image"
            )
        sizes.append((-(-room // w.stride[place]) if ceil else room // w.stride[place]) + 1)
    return tuple(sizes)


def conv(call: Call) -> Ref:
    """Conv."""
    source = image(call)
    const = call.needed(1, "weight")
    weight = float_array(const.array)
    if weight.ndim != (3 if source.flat else 4):
        raise Unsupported(
            f"Conv with a weight of shape {list(weight.shape)}", "one or two spatial dimensions"
        )
    if source.flat:
        weight = weight[:, :, None]
    groups = int(call.get("group", 1))
    if source.shape[1] != weight.shape[1] * groups:
        raise Unsupported(
            f"Conv of {source.shape[1]} channels with a weight of shape {list(weight.shape)}",
            f"{weight.shape[1] * groups} channels",
        )
    w = window(call, weight.shape[3:] if source.flat else weight.shape[2:], source.flat)
    pads = padding(call, source, w)
    matrix = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(weight.shape[0], -1)
    return source.result(call, _emit(call, source, w, pads, groups, matrix, weight_name(const, call)))


def _emit(
    call: Call, source: Image, w: Window, pads: Pads, groups: int, matrix: np.ndarray, name: str
) -> str:
    weights = {"weight": Weight(name=name, values=matrix, only_dense=groups > 1)}
    bias = call.named(2, "bias")
    if bias is not None:
        weights["bias"] = Weight(
            name=bias.name or sibling(name, "bias"), values=float_array(bias.array).reshape(-1)
        )
    shape = (source.shape[0], matrix.shape[0], *spatial(source.shape, w, pads))
    attributes = conv_attributes(
        kernel=w.kernel, stride=w.stride, padding=pads, dilation=w.dilation, groups=groups
    )
    return call.scope.emit("conv2d", [source.value], shape, attributes, weights)


def transposed(call: Call) -> Ref:
    """ConvTranspose with kernel = stride and without padding: every input pixel becomes its own sh x sw block, a 1x1
    convolution with O sh sw outputs and a pixel shuffle. Otherwise with any stride s: output pixels of one
    phase (i mod s) see a fixed set of taps, so a convolution with O sh sw outputs and kernel ceil(k / s) gives all phases,
    a pixel shuffle puts them in place and a slice cuts the padding away."""
    source = image(call)
    const = call.needed(1, "weight")
    weight = float_array(const.array)
    if weight.ndim != (3 if source.flat else 4):
        raise Unsupported(
            f"ConvTranspose with a weight of shape {list(weight.shape)}", "one or two spatial dimensions"
        )
    weight = weight[:, :, None] if source.flat else weight
    w = window(call, weight.shape[3:] if source.flat else weight.shape[2:], source.flat)
    if w.dilation != (1, 1):
        raise Unsupported(
            f"ConvTranspose with the dilations {list(w.dilation)}", "ConvTranspose without dilation"
        )
    groups = int(call.get("group", 1))
    pads, extra = _transposed_padding(call, source, w)
    (high, wide), (sh, sw) = w.kernel, w.stride
    taps = (-(-high // sh), -(-wide // sw))
    columns, rows = weight.shape[0] // groups, weight.shape[1]
    # [groups, I/g, O/g, kh, kw] -> zeros up to a multiple of the stride -> phases: tap t of phase p is kernel row t s + p
    full = np.zeros((groups, columns, rows, taps[0] * sh, taps[1] * sw), weight.dtype)
    full[..., :high, :wide] = weight.reshape(groups, columns, rows, high, wide)
    split = full.reshape(groups, columns, rows, taps[0], sh, taps[1], sw)[:, :, :, ::-1, :, ::-1, :]
    matrix = np.ascontiguousarray(split.transpose(0, 2, 4, 6, 3, 5, 1)).reshape(groups * rows * sh * sw, -1)
    name = weight_name(const, call)
    weights = {"weight": Weight(name=name, values=matrix, only_dense=groups > 1)}
    bias = call.named(2, "bias")
    if bias is not None:
        values = np.repeat(float_array(bias.array).reshape(-1), sh * sw)
        weights["bias"] = Weight(name=bias.name or sibling(name, "bias"), values=values)
    around = (taps[0] - 1, taps[1] - 1)
    size = [n + t - 1 for n, t in zip(source.shape[2:], taps, strict=True)]
    scope, batch, channels = call.scope, source.shape[0], groups * rows
    attributes = conv_attributes(kernel=taps, padding=(*around, *around), groups=groups)
    value = scope.emit("conv2d", [source.value], (batch, channels * sh * sw, *size), attributes, weights)
    if (sh, sw) != (1, 1):
        value = scope.emit(
            "pixel_shuffle",
            [value],
            (batch, channels, size[0] * sh, size[1] * sw),
            {"factor": [sh, sw], "order": "channel_major"},
        )
    for axis in (2, 3):
        value = _cut(call, value, axis, pads[axis - 2], source.shape[axis], w, pads, extra)
    return source.result(call, value)


def _cut(
    call: Call, value: str, axis: int, start: int, size: int, w: Window, pads: Pads, extra: tuple[int, int]
) -> str:
    """Rows `start` .. of the full result; rows beyond it are those of the bias alone and only occur with output_padding."""
    place = axis - 2
    length = (size - 1) * w.stride[place] + w.kernel[place] - pads[place] - pads[place + 2] + extra[place]
    shape = call.scope.shape(value)
    if start + length > shape[axis]:
        raise Unsupported(
            "ConvTranspose whose output_padding reaches beyond the kernel", "a smaller output_padding"
        )
    if start == 0 and length == shape[axis]:
        return value
    attributes = {"axis": axis, "start": start, "stop": start + length, "step": 1}
    return call.scope.emit("slice", [value], (*shape[:axis], length, *shape[axis + 1 :]), attributes)


def _transposed_padding(call: Call, source: Image, w: Window) -> tuple[Pads, tuple[int, int]]:
    extra = [int(item) for item in call.get("output_padding") or []]
    pair = (0, extra[0]) if source.flat and extra else (extra[0], extra[1]) if extra else (0, 0)
    wanted, auto = call.get("output_shape"), call.get("auto_pad", "NOTSET")
    if not wanted and auto in ("NOTSET", "", "VALID"):
        return (padding(call, source, w) if auto != "VALID" else (0, 0, 0, 0)), pair
    if wanted:
        sizes = [1, int(wanted[-1])] if source.flat else [int(item) for item in wanted[-2:]]
    else:
        sizes = [n * s for n, s in zip(source.shape[2:], w.stride, strict=True)]
    ends = []
    for place in (0, 1):
        total = (source.shape[2 + place] - 1) * w.stride[place] + pair[place] + w.kernel[place] - sizes[place]
        if total < 0:
            raise Unsupported(f"ConvTranspose with the output_shape {sizes}", "pads of at least 0")
        ends.append(
            (total - total // 2, total // 2) if auto != "SAME_UPPER" else (total // 2, total - total // 2)
        )
    return (ends[0][0], ends[1][0], ends[0][1], ends[1][1]), pair


def pad(call: Call) -> Ref:
    """Pad with a constant, by reflection or with the edge."""
    x = call.ref()
    amounts = call.integers(1, "pads") or []
    axes = call.const(3, "axes")
    rank = x.rank
    full = [0] * (2 * rank)
    for place, axis in enumerate(range(rank) if axes is None else [int(a) % rank for a in axes.reshape(-1)]):
        full[axis], full[rank + axis] = amounts[place], amounts[place + len(amounts) // 2]
    if not any(full):
        return x
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        call.get("mode", "constant")
    )
    if mode is None or min(full) < 0:
        raise Unsupported(
            f"Pad with the mode {call.get('mode')!r} and the amounts {full}",
            "amounts of at least 0 with constant, reflect or edge",
        )
    value = call.number(2, "value", 0.0) if mode == "constant" else 0.0
    return _padded(call, x, full, mode, float(value or 0.0))


def _padded(call: Call, x: Ref, full: list[int], mode: str, value: float) -> Ref:
    shape = call.scope.shape(x.value)
    before, after = [0] * len(shape), [0] * len(shape)
    for axis in range(x.rank):
        if full[axis] or full[x.rank + axis]:
            place = x.net_axis(axis)
            before[place], after[place] = full[axis], full[x.rank + axis]
    out = tuple(size + b + a for size, b, a in zip(shape, before, after, strict=True))
    attributes: dict[str, Json] = {
        "before": [*before[1:]],
        "after": [*after[1:]],
        "mode": mode,
        "value": value,
    }
    made = call.scope.emit("pad", [x.value], out, attributes)
    return replace(x, value=made, dims=tuple(out[place] for place in x.order))


LOWERINGS: dict[str, Lowering] = {"Conv": conv, "ConvTranspose": transposed, "Pad": pad}
__all__ = ["LOWERINGS", "Const", "Image", "Window", "image", "padding", "spatial", "window"]
