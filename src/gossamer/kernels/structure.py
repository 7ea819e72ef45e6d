"""Where a sparse matrix keeps entries, without their values: what the products of training share.

In training the values are a parameter, a flat array in the order of the rows, and the places change only when a mask is edited. The
transposed structure lists the same entries by column; its `order` says where each one's value stands, so that no value is ever moved.

Letters: R, C = rows and columns of the matrix, nnz = kept entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Entries by row: those of row r stand at columns[row_start[r]] .. columns[row_start[r + 1] - 1]; entry i has the value
    values[order[i]], without an order values[i]."""

    shape: tuple[int, int]
    row_start: NDArray[np.uint32]  # [R + 1]
    columns: NDArray[np.uint32]  # [nnz]
    order: NDArray[np.uint32] | None = None  # [nnz]

    def __post_init__(self) -> None:
        parts = [part for part in (self.row_start, self.columns, self.order) if part is not None]
        if any(part.dtype != np.uint32 for part in parts):
            raise FormatError(
                f"expected uint32 row starts, columns and order, got {', '.join(str(p.dtype) for p in parts)}"
            )
        rows, width = self.shape
        nnz = len(self.columns)
        starts = self.row_start.astype(np.int64)
        if len(starts) != rows + 1 or starts[0] != 0 or starts[-1] != nnz or np.any(np.diff(starts) < 0):
            raise FormatError(f"expected {rows + 1} row starts that ascend from 0 to {nnz}, got {starts}")
        if nnz and int(self.columns.max()) >= width:
            raise FormatError(f"expected columns below {width}, got {int(self.columns.max())}")
        if self.order is not None and len(self.order) != nnz:
            raise FormatError(f"expected an order of {nnz} entries, got {len(self.order)}")

    @property
    def num_kept(self) -> int:
        return len(self.columns)

    def rows(self) -> NDArray[np.int64]:
        """The row of every entry."""
        starts = self.row_start.astype(np.int64)
        return np.repeat(np.arange(self.shape[0]), starts[1:] - starts[:-1])

    def transposed(self) -> Structure:
        """The same entries by column, with the places of their values.

        >>> places = structure(np.array([[True, False], [True, True]]))
        >>> by_column = places.transposed()
        >>> by_column.row_start.tolist(), by_column.columns.tolist(), by_column.order.tolist()
        ([0, 2, 3], [0, 1, 1], [0, 1, 2])
        """
        by_column = np.argsort(self.columns, kind="stable")
        counts = np.bincount(self.columns, minlength=self.shape[1])
        places = by_column if self.order is None else self.order[by_column]
        return Structure(
            shape=(self.shape[1], self.shape[0]),
            row_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32),
            columns=self.rows()[by_column].astype(np.uint32),
            order=places.astype(np.uint32),
        )


def structure(mask: NDArray[np.bool_]) -> Structure:
    """Kept places of a mask [R, C]; their values are `weight[mask]`."""
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise FormatError(f"expected a bool mask [R, C], got {mask.dtype} {list(mask.shape)}")
    return Structure(
        shape=(mask.shape[0], mask.shape[1]),
        row_start=np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.uint32),
        columns=np.nonzero(mask)[1].astype(np.uint32),
    )


def one_float_type(*arrays: NDArray[np.floating]) -> np.dtype[np.floating]:
    """float32 or float64, which all arrays must have."""
    found = {array.dtype for array in arrays}
    if len(found) != 1 or found.isdisjoint({np.dtype(np.float32), np.dtype(np.float64)}):
        raise FormatError(
            f"expected float32 or float64 arrays, all of one type, got {', '.join(sorted(map(str, found)))}"
        )
    return found.pop()
