"""Sparse matrix times vector, y [R] = A [R, C] x [C]: face of the native gather kernel, with its NumPy reference."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError
from gossamer.kernels.csr import Csr, NativeProduct, raise_for
from gossamer.kernels.native import operation


def spmv(matrix: Csr, x: NDArray[np.float32], *, isa: str = "") -> NDArray[np.float32]:
    """float32 [R], native where that is built; `isa` names an instruction set, "" is the best of this CPU.

    >>> from gossamer.kernels.csr import csr
    >>> a = csr(np.array([[2.0, 1.0], [0.0, 3.0]], np.float32), np.array([[True, True], [False, True]]))
    >>> spmv(a, np.array([1.0, 4.0], np.float32)).tolist()
    [6.0, 12.0]
    """
    _check(matrix, x)
    native = cast("NativeProduct | None", operation("spmv"))
    if native is None:
        return spmv_reference(matrix, x, isa=isa)
    y = np.empty(matrix.shape[0], np.float32)
    operand = np.ascontiguousarray(x, dtype=np.float32)
    raise_for(native(matrix.values, matrix.row_start, matrix.columns, operand, y, isa), isa)
    return y


def spmv_reference(matrix: Csr, x: NDArray[np.float32], *, isa: str = "") -> NDArray[np.float32]:
    """The same in NumPy, in float64."""
    _check(matrix, x)
    starts = matrix.row_start.astype(np.int64)
    rows = np.repeat(np.arange(matrix.shape[0]), starts[1:] - starts[:-1])
    products = matrix.values.astype(np.float64) * x.astype(np.float64)[matrix.columns]
    return np.bincount(rows, weights=products, minlength=matrix.shape[0]).astype(np.float32)


def _check(matrix: Csr, x: NDArray[np.float32]) -> None:
    if x.ndim != 1 or x.shape[0] != matrix.shape[1]:
        raise FormatError(f"expected a vector of {matrix.shape[1]}, got shape {list(x.shape)}")
