"""The slow references of `TrainingMatrix.conv` and `conv_backward`: the same products in NumPy, entry by entry in float64.

    y[n, r, i, j] = sum over entries w[r, (a, b, c)] of w x[n, c, i * stride + a * dilation - padding, j * stride + b * dilation - padding]

Letters: N = batch, R = outputs; (a, b) = tap, c = input channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.kernels.conv_geometry import ConvGeometry

Floats: TypeAlias = NDArray[np.floating[Any]]
Places: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
Slices: TypeAlias = tuple[slice, int, slice, slice]


def conv_reference(
    places: Places, shape: tuple[int, int], values: Floats, geometry: ConvGeometry, x: Floats
) -> Floats:
    """[N, R, H', W'] for x [N, C_in, H, W].

    >>> geometry = ConvGeometry(kernel=(1, 2))
    >>> places, x = (np.array([0, 0]), np.array([0, 1])), np.array([[[[1.0, 2.0, 3.0]]]])
    >>> conv_reference(places, (1, 2), np.array([1.0, 10.0]), geometry, x).tolist()
    [[[[21.0, 32.0]]]]
    """
    size = geometry.output((x.shape[2], x.shape[3]))
    padded = _padded(x, geometry)
    y = np.zeros((len(x), shape[0], *size))
    for i, row, read in _entries(places, shape, geometry, size):
        y[:, row] += float(values[i]) * padded[read]
    return y.astype(x.dtype)


def conv_backward_reference(
    places: Places, shape: tuple[int, int], values: Floats, geometry: ConvGeometry, x: Floats, dy: Floats
) -> tuple[Floats, Floats]:
    """dx as x, and the values' gradient at kept entries, zero behind them."""
    padded, back = _padded(x, geometry), dy.astype(np.float64)
    spread, gradient = np.zeros(padded.shape), np.zeros(len(values))
    for i, row, read in _entries(places, shape, geometry, (dy.shape[2], dy.shape[3])):
        spread[read] += float(values[i]) * back[:, row]
        gradient[i] = (back[:, row] * padded[read]).sum()
    high, wide = geometry.padding
    dx = spread[:, :, high : high + x.shape[2], wide : wide + x.shape[3]]
    return dx.astype(x.dtype), gradient.astype(x.dtype)


def _padded(x: Floats, geometry: ConvGeometry) -> NDArray[np.float64]:
    high, wide = geometry.padding
    return np.pad(x.astype(np.float64), ((0, 0), (0, 0), (high, high), (wide, wide)))


def _entries(
    places: Places, shape: tuple[int, int], geometry: ConvGeometry, size: tuple[int, int]
) -> Iterator[tuple[int, int, Slices]]:
    """Number, output and pixels [N, H', W'] of the padded images that it meets, of every entry."""
    inputs = shape[1] // (geometry.kernel[0] * geometry.kernel[1])
    for i, (row, column) in enumerate(zip(*(part.tolist() for part in places), strict=True)):
        tap, channel = divmod(column, inputs)
        first = [
            step * place
            for step, place in zip(geometry.dilation, divmod(tap, geometry.kernel[1]), strict=True)
        ]
        rows, columns = (
            slice(at, at + stride * (count - 1) + 1, stride)
            for at, stride, count in zip(first, geometry.stride, size, strict=True)
        )
        group = row // (shape[0] // geometry.groups)
        yield i, row, (slice(None), group * inputs + channel, rows, columns)
