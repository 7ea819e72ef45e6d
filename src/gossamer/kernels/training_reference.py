"""The slow references of `TrainingMatrix`: the same products in NumPy, entry by entry in float64.

Letters as there: R, C = rows and columns of the weight, N = batch, nnz = kept entries; entry e is w[rows[e], columns[e]].
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Places: TypeAlias = NDArray[np.int64]


def entries(
    row_start: NDArray[np.uint32], columns: NDArray[np.unsignedinteger[Any]], block: tuple[int, int]
) -> tuple[Places, Places]:
    """Row and column [nnz] of every entry, in the order of the values: by row of blocks, inside a block row-major.

    >>> [part.tolist() for part in entries(np.array([0, 1], np.uint32), np.array([1], np.uint16), (2, 2))]
    [[0, 0, 1, 1], [2, 3, 2, 3]]
    """
    starts = row_start.astype(np.int64)
    block_row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    inner_row, inner_column = (part.ravel() for part in np.indices(block))
    rows = block_row[:, None] * block[0] + inner_row
    return rows.ravel(), (columns.astype(np.int64)[:, None] * block[1] + inner_column).ravel()


def linear_reference(
    places: tuple[Places, Places], num_rows: int, values: Floats, bias: Floats | None, x: Floats
) -> Floats:
    """[N, R] = bias + x W^T.

    >>> linear_reference((np.array([0, 1, 1]), np.array([1, 0, 1])), 2, np.array([2.0, 3.0, 4.0]), None, np.array([[1.0, 10.0]])).tolist()
    [[20.0, 43.0]]
    """
    rows, columns = places
    y = np.zeros((num_rows, x.shape[0]))
    np.add.at(y, rows, x.astype(np.float64).T[columns] * values[: len(rows), None].astype(np.float64))
    return (y.T if bias is None else y.T + bias.astype(np.float64)).astype(x.dtype)


def linear_backward_reference(
    places: tuple[Places, Places], values: Floats, x: Floats, dy: Floats
) -> tuple[Floats, Floats]:
    """dx [N, C] = dy W and the values' gradient dy^T x at kept entries, zero behind them.

    >>> dx, gradient = linear_backward_reference(
    ...     (np.array([0]), np.array([1])), np.array([3.0, 0.0]), np.array([[5.0, 7.0]]), np.array([[2.0]]))
    >>> dx.tolist(), gradient.tolist()
    ([[0.0, 6.0]], [14.0, 0.0])
    """
    rows, columns = places
    kept = values[: len(rows)].astype(np.float64)
    back, given = dy.astype(np.float64).T, x.astype(np.float64).T
    dx = np.zeros(given.shape)
    np.add.at(dx, columns, back[rows] * kept[:, None])
    gradient = np.zeros(len(values), x.dtype)
    gradient[: len(rows)] = (back[rows] * given[columns]).sum(axis=1)
    return dx.T.astype(x.dtype), gradient
