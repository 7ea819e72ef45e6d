"""Compressed sparse rows for the faces of the native products: what they share, checked once.

Letters: R, C = rows and columns of the matrix, N = columns of the operand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError, RuntimeFailure

_Floats: TypeAlias = NDArray[np.float32]
_Indices: TypeAlias = NDArray[np.uint32]
NativeProduct: TypeAlias = Callable[[_Floats, _Indices, _Indices, _Floats, _Floats, str], int]
"""values, row_start, columns, operand, result (written), instruction set; a code of native/products.h."""


@dataclass(frozen=True, kw_only=True)
class Csr:
    """A sparse matrix [R, C]: values[i] of row r stands at columns[i], row_start[r] <= i < row_start[r + 1]."""

    shape: tuple[int, int]
    values: NDArray[np.float32]  # [nnz]
    row_start: NDArray[np.uint32]  # [R + 1]
    columns: NDArray[np.uint32]  # [nnz]

    def __post_init__(self) -> None:
        found = [part.dtype for part in (self.values, self.row_start, self.columns)]
        if found != [np.float32, np.uint32, np.uint32]:
            raise FormatError(
                f"expected float32 values, uint32 row starts and uint32 columns, got {', '.join(map(str, found))}"
            )
        rows, width = self.shape
        nnz = len(self.values)
        ends = self.row_start[[0, -1]].tolist() if len(self.row_start) else []
        if len(self.row_start) != rows + 1 or len(self.columns) != nnz or ends != [0, nnz]:
            raise FormatError(
                f"expected {rows + 1} row starts from 0 to {nnz} and {nnz} columns, "
                f"got {len(self.row_start)} row starts {ends} and {len(self.columns)} columns"
            )
        if np.any(np.diff(self.row_start.astype(np.int64)) < 0):
            raise FormatError("expected ascending row starts, got descending ones")
        if nnz and int(self.columns.max()) >= width:
            raise FormatError(f"expected columns below {width}, got {int(self.columns.max())}")


def csr(matrix: NDArray[np.float32], mask: NDArray[np.bool_]) -> Csr:
    """Kept entries of a dense matrix; the mask is the truth, a kept zero stays.

    >>> packed = csr(np.array([[5.0, 6.0], [7.0, 8.0]], np.float32), np.array([[False, True], [True, True]]))
    >>> packed.values.tolist(), packed.row_start.tolist(), packed.columns.tolist()
    ([6.0, 7.0, 8.0], [0, 1, 3], [1, 0, 1])
    """
    if matrix.shape != mask.shape or matrix.ndim != 2 or mask.dtype != np.bool_:
        raise FormatError(
            f"expected a matrix and a bool mask of one shape, got {matrix.shape} and {mask.dtype} {mask.shape}"
        )
    starts = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.uint32)
    return Csr(
        shape=(matrix.shape[0], matrix.shape[1]),
        values=np.ascontiguousarray(matrix[mask], dtype=np.float32),
        row_start=starts,
        columns=np.nonzero(mask)[1].astype(np.uint32),
    )


def raise_for(status: int, isa: str) -> None:
    """Turn a code of native/products.h into an error; shapes and indices were checked before."""
    if status == 1:
        raise RuntimeFailure(
            f"expected an instruction set that this CPU and build have, got {isa!r}; see `gossamer doctor`"
        )
    if status == 3:
        raise RuntimeFailure(
            "expected memory for a product's tiles, got none; take fewer or smaller examples at once"
        )
    if status == 4:
        raise RuntimeFailure("expected to start the threads of a product, got fewer; ask for fewer threads")
    assert status == 0, f"native product refused arguments that were checked: {status}"
