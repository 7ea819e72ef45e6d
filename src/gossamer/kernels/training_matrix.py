"""A sparse weight in training: its places, prepared once an edit of the mask for the products of a step, and these products.

    forward  Y [N, R] = bias + X W^T        backward  dX [N, C] = dY W,  dvalues = dY^T X at kept entries

The values are a flat array of the caller's, by row of blocks, inside a block row-major; it may be longer than the kept entries
(capacity), what lies behind them is ignored and has the gradient zero. Operands are NumPy arrays of float32 or float64. An operand may be
feature-major (x.T contiguous): consecutive layers never turn anything then, and the products run fastest. Results are equal for every
number of threads.

A convolution is the same matrix with columns (kernel row, kernel column, input channel of the group), the channel fastest. Its images are
[N, C_in, H, W], contiguous or channels last in memory (x.transpose(0, 2, 3, 1) contiguous), which is a little faster; results have the
layout of x. Its sums are made in another order where the number of threads shares rows or images otherwise: results are equal for equal
numbers of threads.

Letters: R, C = rows (outputs) and columns (inputs) of the weight, N = batch. Without the native library the methods use their NumPy
references (training_reference.py, conv_reference.py).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError
from gossamer.kernels.conv_geometry import ConvGeometry
from gossamer.kernels.conv_reference import conv_backward_reference, conv_reference
from gossamer.kernels.csr import raise_for
from gossamer.kernels.native import operation
from gossamer.kernels.reused import Reused, aligned
from gossamer.kernels.training_reference import entries, linear_backward_reference, linear_reference

Floats: TypeAlias = NDArray[np.floating[Any]]
Indices: TypeAlias = NDArray[np.unsignedinteger[Any]]


class TrainingMatrix:
    """Places of a sparse weight [R, C]. The columns are not copied: they must stay as they are while products are made.

    >>> places = TrainingMatrix((2, 3), np.array([0, 1, 3], np.uint32), np.array([2, 0, 1], np.uint16))
    >>> values = np.array([10.0, 2.0, 3.0, 99.0])
    >>> places.linear(values, np.array([[1.0, 10.0, 100.0]])).tolist()
    [[1000.0, 32.0]]
    >>> dx, gradient = places.linear_backward(values, np.array([[1.0, 10.0, 100.0]]), np.array([[1.0, 2.0]]), need_dx=True)
    >>> dx.tolist(), gradient.tolist()
    ([[4.0, 6.0, 10.0]], [100.0, 2.0, 20.0, 0.0])
    """

    def __init__(
        self,
        shape: tuple[int, int],
        row_start: NDArray[np.uint32],  # [R / block rows + 1]
        columns: Indices,  # [blocks], in blocks, ascending in a row: uint16 or uint32
        *,
        block: tuple[int, int] = (1, 1),
    ) -> None:
        if row_start.ndim != 1 or columns.ndim != 1 or row_start.dtype != np.uint32:
            raise FormatError(
                f"expected flat uint32 row starts, got {row_start.dtype} {list(row_start.shape)}"
            )
        if columns.dtype not in (np.uint16, np.uint32):
            raise FormatError(f"expected uint16 or uint32 columns, got {columns.dtype}")
        self.shape = shape
        self.block = block
        self._gradients = Reused()
        native: Any = operation("TrainingMatrix")
        if native is None:
            _check_structure(shape, row_start, columns, block)
            self._native: Any = None
            self._row_start, self._columns = row_start.copy(), np.ascontiguousarray(columns)
            return
        try:
            self._native = native(
                *shape, *block, np.ascontiguousarray(row_start), np.ascontiguousarray(columns)
            )
        except ValueError as error:
            raise FormatError(str(error)) from None

    @property
    def row_start(self) -> NDArray[np.uint32]:
        """[R / block rows + 1]"""
        found: NDArray[np.uint32] = self._row_start if self._native is None else self._native.row_start
        return found

    @property
    def columns(self) -> Indices:
        """[blocks], in blocks."""
        found: Indices = self._columns if self._native is None else self._native.columns
        return found

    @property
    def num_kept(self) -> int:
        return len(self.columns) * self.block[0] * self.block[1]

    @property
    def nbytes(self) -> int:
        """Memory held here, so not of the columns; what a product prepares counts once it has been prepared."""
        if self._native is None:
            return self._row_start.nbytes
        return int(self._native.nbytes)

    def linear(
        self,
        values: Floats,
        x: Floats,
        *,
        bias: Floats | None = None,
        out: Floats | None = None,
        threads: int = 1,
        isa: str = "",
    ) -> Floats:
        """Y [N, R] for x [N, C], feature-major if x is (or as `out`); `isa` names an instruction set, "" is the best of this CPU."""
        dtype = self._check(values, {"x": (x, self.shape[1])}, threads)
        if bias is not None and (bias.shape != (self.shape[0],) or bias.dtype != dtype):
            raise FormatError(
                f"expected a bias [{self.shape[0]}] of {dtype}, got {bias.dtype} {list(bias.shape)}"
            )
        y = self._result(out, x, self.shape[0])
        if self._native is None:
            y[...] = linear_reference(self._entries(), self.shape[0], values, bias, x)
            return y
        if len(x):
            flat = None if bias is None else np.ascontiguousarray(bias)
            raise_for(self._native.linear(np.ascontiguousarray(values), flat, x, y, threads, isa), isa)
        return y

    def linear_backward(
        self,
        values: Floats,
        x: Floats,
        dy: Floats,
        *,
        need_dx: bool,
        out: Floats | None = None,
        threads: int = 1,
        isa: str = "",
    ) -> tuple[Floats | None, Floats]:
        """dX [N, C] (None where not needed), feature-major if x is (or as `out`), and the gradient of all values, for dy [N, R]."""
        dtype = self._check(values, {"x": (x, self.shape[1]), "dy": (dy, self.shape[0])}, threads)
        dx = self._result(out, x, self.shape[1]) if need_dx else None
        if self._native is None:
            found, gradient = linear_backward_reference(self._entries(), values, x, dy)
            if dx is not None:
                dx[...] = found
            return dx, gradient
        gradient = self._gradients.array(len(values), dtype)
        gradient[self.num_kept if len(x) else 0 :] = 0
        if len(x):
            flat = np.ascontiguousarray(values)
            raise_for(self._native.linear_backward(flat, x, dy, dx, gradient, threads, isa), isa)
        return dx, gradient

    def conv(
        self,
        values: Floats,
        geometry: ConvGeometry,
        x: Floats,
        *,
        out: Floats | None = None,
        threads: int = 1,
        isa: str = "",
    ) -> Floats:
        """Y [N, R, H', W'] for x [N, C_in, H, W], in memory as x (or as `out`)."""
        size = self._check_images(values, geometry, x, threads)
        y = _images(out, x, (len(x), self.shape[0], *size))
        if self._native is None:
            y[...] = conv_reference(self._entries(), self.shape, values, geometry, x)
        elif len(x):
            flat, given = np.ascontiguousarray(values), _readable(x)
            raise_for(self._native.conv(flat, geometry.sides, geometry.groups, given, y, threads, isa), isa)
        return y

    def conv_backward(
        self,
        values: Floats,
        geometry: ConvGeometry,
        x: Floats,
        dy: Floats,
        *,
        need_dx: bool,
        out: Floats | None = None,
        threads: int = 1,
        isa: str = "",
    ) -> tuple[Floats | None, Floats]:
        """dX as x (None where not needed; or as `out`), and the gradient of all values, for dy [N, R, H', W']."""
        size = self._check_images(values, geometry, x, threads)
        if dy.shape != (len(x), self.shape[0], *size) or dy.dtype != x.dtype:
            raise FormatError(
                f"expected dy {[len(x), self.shape[0], *size]} of {x.dtype}, got {dy.dtype} {list(dy.shape)}"
            )
        dx = _images(out, x, x.shape) if need_dx else None
        if self._native is None:
            found, gradient = conv_backward_reference(self._entries(), self.shape, values, geometry, x, dy)
            if dx is not None:
                dx[...] = found
            return dx, gradient
        gradient = self._gradients.array(len(values), x.dtype)
        gradient[self.num_kept if len(x) else 0 :] = 0
        if len(x):
            flat, given, back = np.ascontiguousarray(values), _readable(x), _readable(dy)
            raise_for(
                self._native.conv_backward(
                    flat, geometry.sides, geometry.groups, given, back, dx, gradient, threads, isa
                ),
                isa,
            )
        return dx, gradient

    def _check_images(
        self, values: Floats, geometry: ConvGeometry, x: Floats, threads: int
    ) -> tuple[int, int]:
        """Height and width of the result."""
        channels = geometry.channels(self.shape)
        if x.ndim != 4 or x.shape[1] != channels:
            raise FormatError(f"expected x of shape [N, {channels}, H, W], got {list(x.shape)}")
        self._check_values(values, threads)
        one_float_type(values, x)
        return geometry.output((x.shape[2], x.shape[3]))

    def _entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return entries(self.row_start, self.columns, self.block)

    def _result(self, out: Floats | None, like: Floats, features: int) -> Floats:
        shape = (len(like), features)
        if out is None:
            feature_major = like.strides[0] == like.itemsize and not like.flags.c_contiguous
            return aligned(shape[::-1], like.dtype).T if feature_major else aligned(shape, like.dtype)
        if out.shape != shape or out.dtype != like.dtype or not out.flags.writeable:
            raise FormatError(
                f"expected a writable result {list(shape)} of {like.dtype}, got {out.dtype} {list(out.shape)}"
            )
        return out

    def _check(self, values: Floats, operands: dict[str, tuple[Floats, int]], threads: int) -> np.dtype[Any]:
        batch = {len(array) for array, _ in operands.values() if array.ndim}
        for name, (array, features) in operands.items():
            if array.ndim != 2 or array.shape[1] != features or len(batch) != 1:
                raise FormatError(f"expected {name} of shape [N, {features}], got {list(array.shape)}")
        self._check_values(values, threads)
        return one_float_type(values, *(array for array, _ in operands.values()))

    def _check_values(self, values: Floats, threads: int) -> None:
        if values.ndim != 1 or len(values) < self.num_kept:
            raise FormatError(
                f"expected a flat array of at least {self.num_kept} values, got {list(values.shape)}"
            )
        if threads < 1:
            raise FormatError(f"expected at least 1 thread, got {threads}")


def _readable(images: Floats) -> Floats:
    """[N, C, H, W] contiguous or channels last: the same array where it is one of the two, else a contiguous copy."""
    return images if _channels_last(images) else np.ascontiguousarray(images)


def _channels_last(images: Floats) -> bool:
    return images.transpose(0, 2, 3, 1).flags.c_contiguous


def _images(out: Floats | None, like: Floats, shape: tuple[int, ...]) -> Floats:
    """`out`, or new images of the type and memory layout of `like`."""
    if out is None:
        if like.flags.c_contiguous or not _channels_last(like):
            return aligned(shape, like.dtype)
        return aligned(tuple(shape[i] for i in (0, 2, 3, 1)), like.dtype).transpose(0, 3, 1, 2)
    usable = out.flags.writeable and (out.flags.c_contiguous or _channels_last(out))
    if out.shape != shape or out.dtype != like.dtype or not usable:
        raise FormatError(
            f"expected a writable result {list(shape)} of {like.dtype}, contiguous or channels last, "
            f"got {out.dtype} {list(out.shape)}"
        )
    return out


def one_float_type(*arrays: Floats) -> np.dtype[Any]:
    """float32 or float64, which all arrays must have."""
    found = {array.dtype for array in arrays}
    if len(found) != 1 or found.isdisjoint({np.dtype(np.float32), np.dtype(np.float64)}):
        raise FormatError(
            f"expected float32 or float64 arrays, all of one type, got {', '.join(sorted(map(str, found)))}"
        )
    return found.pop()


def _check_structure(
    shape: tuple[int, int], row_start: NDArray[np.uint32], columns: Indices, block: tuple[int, int]
) -> None:
    """The checks of the native constructor, with its words."""
    if min(*shape, *block) < 1 or shape[0] % block[0] or shape[1] % block[1]:
        raise FormatError(
            f"expected a shape of whole blocks, got {shape[0]}x{shape[1]} in blocks of {block[0]}x{block[1]}"
        )
    rows, width = shape[0] // block[0], shape[1] // block[1]
    starts, places = row_start.astype(np.int64), columns.astype(np.int64)
    expected = f"expected {rows + 1} row starts that ascend from 0 to {len(columns)}, got "
    if len(starts) != rows + 1:
        raise FormatError(f"{expected}{len(starts)}")
    if starts[0] != 0 or starts[-1] != len(columns) or np.any(np.diff(starts) < 0):
        raise FormatError(f"{expected}others")
    if len(places) and places.max() >= width:
        raise FormatError(f"expected columns below {width}, got {places.max()}")
    inside = np.ones(len(places), bool)
    inside[starts[:-1][starts[:-1] < len(places)]] = False  # the first of a row follows nobody
    wrong = np.flatnonzero(inside[1:] & (np.diff(places) <= 0)) + 1
    if len(wrong):
        i = int(wrong[0])
        row = int(np.searchsorted(starts, i, side="right")) - 1
        raise FormatError(
            f"expected columns that ascend inside a row, got {places[i - 1]} before {places[i]} in row {row}"
        )
