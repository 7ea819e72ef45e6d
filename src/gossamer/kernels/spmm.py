"""Sparse matrix times dense matrix, Y [R, N] = A [R, C] X [C, N]: face of the native lane kernel, with its NumPy reference.

The runtime calls the kernel on tiles of padded planes; this face serves tests and single products. It copies X into tiles.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError
from gossamer.kernels.csr import Csr, NativeProduct, raise_for
from gossamer.kernels.native import operation


def spmm(matrix: Csr, x: NDArray[np.float32], *, isa: str = "") -> NDArray[np.float32]:
    """float32 [R, N], native where that is built; `isa` names an instruction set, "" is the best of this CPU.

    >>> from gossamer.kernels.csr import csr
    >>> a = csr(np.array([[2.0, 0.0], [0.0, 3.0]], np.float32), np.eye(2, dtype=bool))
    >>> spmm(a, np.array([[1.0, 4.0], [5.0, 6.0]], np.float32)).tolist()
    [[2.0, 8.0], [15.0, 18.0]]
    """
    _check(matrix, x)
    native = cast("NativeProduct | None", operation("spmm"))
    if native is None:
        return spmm_reference(matrix, x, isa=isa)
    y = np.empty((matrix.shape[0], x.shape[1]), np.float32)
    operand = np.ascontiguousarray(x, dtype=np.float32)
    raise_for(native(matrix.values, matrix.row_start, matrix.columns, operand, y, isa), isa)
    return y


def spmm_reference(matrix: Csr, x: NDArray[np.float32], *, isa: str = "") -> NDArray[np.float32]:
    """The same in NumPy, row by row in float64."""
    _check(matrix, x)
    wide = x.astype(np.float64)
    y = np.zeros((matrix.shape[0], x.shape[1]))
    for row in range(matrix.shape[0]):
        begin, end = int(matrix.row_start[row]), int(matrix.row_start[row + 1])
        y[row] = matrix.values[begin:end].astype(np.float64) @ wide[matrix.columns[begin:end]]
    return y.astype(np.float32)


def _check(matrix: Csr, x: NDArray[np.float32]) -> None:
    if x.ndim != 2 or x.shape[0] != matrix.shape[1]:
        raise FormatError(f"expected an operand of shape [{matrix.shape[1]}, N], got {list(x.shape)}")
