"""Images [N, C, H, W]: windows, pooling, other sizes.

>>> sliding(np.arange(6.0).reshape(1, 1, 1, 6), kernel=(1, 3), stride=(1, 2), dilation=(1, 1))[0, 0, 0]
array([[[0., 1., 2.]],
<BLANKLINE>
       [[2., 3., 4.]]])
"""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gossamer.graph.operators.attributes import int_list, number_list
from gossamer.runtime.reference.base import Call, Floats, Run, float32


def sliding(
    x: NDArray[np.floating], *, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> NDArray[np.floating]:
    """Windows of a padded image [N, C, H, W] as a read-only view [N, C, Ho, Wo, kh, kw]."""
    batch, channels, height, width = x.shape
    out_h = (height - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    out_w = (width - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    n, c, h, w = x.strides
    steps = (n, c, h * stride[0], w * stride[1], h * dilation[0], w * dilation[1])
    return as_strided(x, (batch, channels, out_h, out_w, kernel[0], kernel[1]), steps, writeable=False)


def padded(x: Floats, padding: Sequence[int], value: float) -> Floats:
    """An image with `value` around it: top, left, bottom, right."""
    top, left, bottom, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _max_pool2d(call: Call) -> Floats:
    windows = sliding(
        padded(call.inputs[0], int_list(call.node, "padding"), -np.inf),
        kernel=int_list(call.node, "kernel"),
        stride=int_list(call.node, "stride"),
        dilation=int_list(call.node, "dilation"),
    )
    return float32(windows.max(axis=(4, 5)))


def _avg_pool2d(call: Call) -> Floats:
    node, x = call.node, call.inputs[0]
    kernel, stride, padding = int_list(node, "kernel"), int_list(node, "stride"), int_list(node, "padding")

    def sums(x: Floats) -> NDArray[np.floating]:
        windows = sliding(padded(x, padding, 0.0), kernel=kernel, stride=stride, dilation=(1, 1))
        return np.asarray(windows.sum(axis=(4, 5)))

    if node.attributes["count_include_pad"]:
        return float32(sums(x) / np.float32(prod(kernel)))
    return float32(sums(x) / sums(np.ones((1, 1, *x.shape[2:]), dtype=np.float32)))


def _adaptive_avg_pool2d(call: Call) -> Floats:
    x = call.inputs[0]
    out_h, out_w = int_list(call.node, "output")
    result = np.empty((*x.shape[:2], out_h, out_w), dtype=np.float32)
    for i, rows in enumerate(_adaptive(x.shape[2], out_h)):
        for j, columns in enumerate(_adaptive(x.shape[3], out_w)):
            result[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
    return result


def _adaptive(size: int, count: int) -> list[slice]:
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _pixel_shuffle(call: Call) -> Floats:
    batch, channels, height, width = call.inputs[0].shape
    fh, fw = int_list(call.node, "factor")
    few = channels // (fh * fw)
    if call.node.attributes["order"] == "channel_major":
        parts = call.inputs[0].reshape(batch, few, fh, fw, height, width)
    else:
        parts = call.inputs[0].reshape(batch, fh, fw, few, height, width).transpose(0, 3, 1, 2, 4, 5)
    return parts.transpose(0, 1, 4, 2, 5, 3).reshape(batch, few, height * fh, width * fw)


def _upsample(call: Call) -> Floats:
    result = call.inputs[0]
    scales, sizes = number_list(call.node, "scale"), int_list(call.node, "output")
    # the width first: its mixture stands inside that of the height
    for axis, scale, size in ((3, scales[1], sizes[1]), (2, scales[0], sizes[0])):
        result = _resampled(call, result, axis, np.float32(scale), size)
    return result


def _resampled(call: Call, x: Floats, axis: int, scale: np.float32, size: int) -> Floats:
    """Along one axis; places in float32, as torch computes them."""
    index, last = np.arange(size, dtype=np.float32), x.shape[axis] - 1
    if call.node.attributes["mode"] == "nearest":
        return float32(np.take(x, np.minimum(np.floor(index * scale).astype(np.int64), last), axis=axis))
    half = np.float32(0.5)
    place = index * scale
    if not call.node.attributes["align_corners"]:
        place = np.maximum((index + half) * scale - half, np.float32(0))
    low = np.minimum(place.astype(np.int64), last)
    share = np.clip(place - low.astype(np.float32), 0, 1).reshape((-1,) + (1,) * (3 - axis))
    first, second = np.take(x, low, axis=axis), np.take(x, np.minimum(low + 1, last), axis=axis)
    return float32((1 - share) * first + share * second)


OPERATIONS: dict[str, Run] = {
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "pixel_shuffle": _pixel_shuffle,
    "upsample": _upsample,
}
