"""Bundles of a gather-scatter group: T perfect matchings of lanes and residues (Load-balanced Gather-scatter
Patterns for Sparse Deep Neural Networks, 2021).

Let M[v, q] be the number of kept entries of virtual row v in residue class q; a GS(B, k) support of T bundles has all row and column sums
of M equal to T. By König's theorem M has a perfect matching; it is taken as often as its rarest cell allows, which empties a cell each
time, so that the next matching mends one path of the last (Birkhoff's decomposition: at most B² - 2B + 2 different matchings, however
large T is). Deterministic.

>>> matchings(np.array([[2, 1], [1, 2]]))
[([0, 1], 2), ([1, 0], 1)]
"""

import numpy as np

from gossamer.formats.matrix import Ints


def matchings(counts: Ints) -> list[tuple[list[int], int]]:
    """`counts` [B, B] with equal line sums as matchings (residue of each virtual row) and how often each is used."""
    table: list[list[int]] = counts.tolist()
    size, left = len(table), int(counts[0].sum()) if len(counts) else 0
    open_cells = [sum(1 << q for q in range(size) if row[q]) for row in table]
    residue_of, row_of = [-1] * size, [-1] * size
    result: list[tuple[list[int], int]] = []
    while left:
        for row in range(size):
            if residue_of[row] < 0:
                found = _augment(row, open_cells, row_of, residue_of)
                assert found, "a regular bipartite multigraph has a perfect matching"
        times = min(table[row][residue_of[row]] for row in range(size))
        result.append((residue_of.copy(), times))
        left -= times
        for row, residue in enumerate(result[-1][0]):
            table[row][residue] -= times
            if not table[row][residue]:
                open_cells[row] &= ~(1 << residue)
                residue_of[row] = row_of[residue] = -1
    return result


def _augment(start: int, open_cells: list[int], row_of: list[int], residue_of: list[int]) -> bool:
    """Match row `start` along an alternating path found breadth first."""
    came_from: dict[int, int] = {}  # residue -> the row that reached it
    rows, seen = [start], 0
    for row in rows:  # grows while it is walked
        fresh = open_cells[row] & ~seen
        seen |= fresh
        while fresh:
            residue = (fresh & -fresh).bit_length() - 1
            fresh &= fresh - 1
            came_from[residue] = row
            if row_of[residue] < 0:
                _flip(residue, start, came_from, row_of, residue_of)
                return True
            rows.append(row_of[residue])
    return False


def _flip(end: int, start: int, came_from: dict[int, int], row_of: list[int], residue_of: list[int]) -> None:
    residue = end
    while True:
        row = came_from[residue]
        before = residue_of[row]
        residue_of[row], row_of[residue] = residue, row
        if row == start:
            return
        residue = before


def bundle_columns(columns: Ints, banks: int) -> Ints:
    """Columns of one group as bundles [T, B]. `columns` [B, T]: the kept columns of each virtual row, sorted by residue."""
    residues = columns % banks
    cells = np.arange(banks)[:, None] * banks + residues
    counts = np.bincount(cells.ravel(), minlength=banks * banks).reshape(banks, banks)
    found = matchings(counts)
    times = np.array([count for _, count in found])
    sequence = np.repeat(np.array([residue_of for residue_of, _ in found]).T, times, axis=1)  # [B, T]
    result = np.empty_like(columns)
    np.put_along_axis(result, np.argsort(sequence, axis=1, kind="stable"), columns, axis=1)
    return result.T
