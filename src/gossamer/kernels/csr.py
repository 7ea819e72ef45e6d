"""Compressed sparse rows for the faces of the native products: what they share, checked once.

Letters: R, C = rows and columns of the matrix, N = columns of the operand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError


@dataclass(frozen=True, kw_only=True)
class Csr:
    """A sparse matrix [R, C]: values[i] of row r stands at columns[i], row_start[r] <= i < row_start[r + 1]."""

    shape: tuple[int, int]
    values: NDArray[np.float32]  # [nnz]
    row_start: NDArray[np.uint32]  # [R + 1]
    columns: NDArray[np.uint32]  # [nnz]

    def __post_init__(self) -> None:
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
    if matrix.shape != mask.shape or matrix.ndim != 2:
        raise FormatError(f"expected a matrix and a mask of one shape, got {matrix.shape} and {mask.shape}")
    starts = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.uint32)
    return Csr(
        shape=(matrix.shape[0], matrix.shape[1]),
        values=np.ascontiguousarray(matrix[mask], dtype=np.float32),
        row_start=starts,
        columns=np.nonzero(mask)[1].astype(np.uint32),
    )
