"""The exact projection onto gather-scatter masks GS(B, k): the legal mask of K bundles with the largest total score.

In a group of g = B / k rows with T bundles every row keeps k T entries and every residue (column mod B) keeps T. Rows and residues are the
two sides of a transportation problem whose vertices are masks, so a min-cost flow solves it exactly. Successive shortest paths add one
bundle to every residue's and k to every row's room at a time; the optimum f(T) is concave in T, so K bundles are shared among groups by
the largest f(T + 1) - f(T) (lower group first among equals).

Entries of `keep` outrank all others, +inf and -inf lie above and below every finite score; all three are whole levels, not large floats.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gossamer.kernels.native import operation

_NativeProjection = Callable[
    [NDArray[np.float64], NDArray[np.uint8] | None, int, int, int, NDArray[np.uint8]], int
]


def project_gs(
    scores: NDArray[np.float64],  # [R, C], higher = keep, no NaN; R a multiple of banks / per_row, C of banks
    *,
    banks: int,  # B
    per_row: int,  # k, divides B
    bundles: int,  # K, of the whole matrix
    keep: NDArray[np.bool_]
    | None = None,  # [R, C], taken first; the caller checks that the mask holds all of it
) -> NDArray[np.bool_]:
    """bool [R, C]: the best GS(banks, per_row) mask of exactly `bundles * banks` entries, native where that is built.

    >>> project_gs(np.array([[9.0, 8.0], [7.0, 1.0]]), banks=2, per_row=1, bundles=1).astype(int).tolist()
    [[0, 1], [1, 0]]
    """
    _check(scores, banks, per_row, bundles)
    native = cast("_NativeProjection | None", operation("project_gs"))
    if native is None:
        return project_gs_reference(scores, banks=banks, per_row=per_row, bundles=bundles, keep=keep)
    mask = np.zeros(scores.shape, dtype=np.uint8)
    kept = None if keep is None else np.ascontiguousarray(keep).view(np.uint8)
    error = native(np.ascontiguousarray(scores, dtype=np.float64), kept, banks, per_row, bundles, mask)
    assert error == 0, f"gsm_project_gs refused arguments that were checked: error {error}"
    return mask.view(np.bool_)


def project_gs_reference(
    scores: NDArray[np.float64],
    *,
    banks: int,
    per_row: int,
    bundles: int,
    keep: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """The same in plain Python with integers of any length, hence without rounding; about 500 times slower."""
    _check(scores, banks, per_row, bundles)
    height = banks // per_row
    worth = _exact_integers(scores, keep)
    groups = [_Group(worth[top : top + height], banks, per_row) for top in range(0, scores.shape[0], height)]
    queue = [(-group.next_gain, index) for index, group in enumerate(groups) if group.has_next]
    heapq.heapify(queue)
    for _ in range(bundles):
        index = heapq.heappop(queue)[1]
        groups[index].commit()
        if groups[index].has_next:
            heapq.heappush(queue, (-groups[index].next_gain, index))
    mask = np.zeros(scores.shape, dtype=np.bool_)
    for index, group in enumerate(groups):
        for row, column in group.support():
            mask[index * height + row, column] = True
    return mask


class _Group:
    """One group of g rows x B residues: the optimal flow for T bundles, and the one for T + 1 that is computed ahead.

    A cell (row, residue) holds its entries from best to worst; the flow is how many of them are kept. Residual arcs: row -> residue takes
    the cell's next entry (cost = minus its worth), residue -> row gives the last one back (cost = its worth). `potential` keeps all
    reduced costs non-negative, so each augmentation is one Dijkstra run.
    """

    def __init__(self, worth: list[list[int]], banks: int, per_row: int) -> None:
        self.rows, self.banks, self.per_row = len(worth), banks, per_row
        columns = len(worth[0])
        self.cells = [
            [sorted(range(q, columns, banks), key=lambda c, row=row: -row[c]) for q in range(banks)]  # type: ignore[misc]
            for row in worth
        ]
        self.worth = worth
        self.flow = [[0] * banks for _ in worth]
        self.committed = [[0] * banks for _ in worth]
        self.row_potential = [0] * self.rows
        self.bank_potential = [
            -max(row[cells[q][0]] for row, cells in zip(worth, self.cells, strict=True)) for q in range(banks)
        ]
        self.most = columns // per_row
        self.bundles = 0
        self.next_gain = 0
        self._look_ahead()

    @property
    def has_next(self) -> bool:
        return self.bundles < self.most

    def commit(self) -> None:
        """Accept the bundle that was computed ahead."""
        self.committed = [list(row) for row in self.flow]
        self.bundles += 1
        self._look_ahead()

    def support(self) -> list[tuple[int, int]]:
        """(row of the group, column) of all kept entries."""
        return [
            (r, column)
            for r, row in enumerate(self.committed)
            for q, count in enumerate(row)
            for column in self.cells[r][q][:count]
        ]

    def _look_ahead(self) -> None:
        if not self.has_next:
            return
        room = [1] * self.banks
        self.next_gain = -sum(
            self._augment(row, room) for row in range(self.rows) for _ in range(self.per_row)
        )

    def _augment(self, start: int, room: list[int]) -> int:
        """Send one unit from row `start` to the nearest residue with room; its cost."""
        rows, banks = self.rows, self.banks
        distance: list[int | None] = [None] * (rows + banks)  # rows, then residues
        parent = [-1] * (rows + banks)
        done = [False] * (rows + banks)
        distance[start] = 0
        while True:
            node, best = -1, 0
            for candidate, found in enumerate(distance):
                if not done[candidate] and found is not None and (node < 0 or found < best):
                    node, best = candidate, found
            assert node >= 0, "a transportation problem with equal totals is feasible"
            done[node] = True
            if node >= rows and room[node - rows]:
                break
            for other in range(rows, rows + banks) if node < rows else range(rows):
                arc = None if done[other] else self._reduced_cost(node, other)
                if arc is not None:
                    known = distance[other]
                    if known is None or best + arc < known:
                        distance[other] = best + arc
                        parent[other] = node
        for other, found in enumerate(distance):
            if done[other] and found is not None:
                if other < rows:
                    self.row_potential[other] += found - best
                else:
                    self.bank_potential[other - rows] += found - best
        room[node - rows] -= 1
        cost = 0
        while node != start:
            before = parent[node]
            if before < rows:
                r, q = before, node - rows
                cost -= self.worth[r][self.cells[r][q][self.flow[r][q]]]
                self.flow[r][q] += 1
            else:
                r, q = node, before - rows
                self.flow[r][q] -= 1
                cost += self.worth[r][self.cells[r][q][self.flow[r][q]]]
            node = before
        return cost

    def _reduced_cost(self, node: int, other: int) -> int | None:
        if node < self.rows:
            r, q = node, other - self.rows
            if self.flow[r][q] == len(self.cells[r][q]):
                return None
            return (
                -self.worth[r][self.cells[r][q][self.flow[r][q]]]
                + self.row_potential[r]
                - self.bank_potential[q]
            )
        r, q = other, node - self.rows
        if self.flow[r][q] == 0:
            return None
        return (
            self.worth[r][self.cells[r][q][self.flow[r][q] - 1]]
            + self.bank_potential[q]
            - self.row_potential[r]
        )


def _exact_integers(scores: NDArray[np.float64], keep: NDArray[np.bool_] | None) -> list[list[int]]:
    """Scores as integers over one common power of two, with the levels of infinities and of `keep` as far larger powers."""
    finite = np.where(np.isfinite(scores), scores, 0.0)
    mantissa, exponent = np.frexp(finite)
    lowest = int(exponent.min())
    level = 1 << (int(exponent.max()) - lowest + 53 + 32)  # above any sum of less than 2^32 finite scores
    worth = []
    for r, row in enumerate(scores):
        values = []
        for c, score in enumerate(row):
            value = int(mantissa[r, c] * (1 << 53)) << (int(exponent[r, c]) - lowest)
            if np.isinf(score):
                value = level if score > 0 else -level
            if keep is not None and keep[r, c]:
                value += level << 32
            values.append(value)
        worth.append(values)
    return worth


def _check(scores: NDArray[np.float64], banks: int, per_row: int, bundles: int) -> None:
    """The caller's duty (patterns check with better words); ours is only not to compute nonsense."""
    fits = scores.ndim == 2 and banks % per_row == 0
    assert fits, f"expected a matrix and k | B, got {scores.shape}, B = {banks}, k = {per_row}"
    fits = scores.shape[0] % (banks // per_row) == 0 and scores.shape[1] % banks == 0
    assert fits, (
        f"expected whole groups of rows and whole banks, got {scores.shape}, B = {banks}, k = {per_row}"
    )
    assert 0 <= bundles <= scores.size // banks, (
        f"expected 0 to {scores.size // banks} bundles, got {bundles}"
    )
    assert not np.isnan(scores).any(), "expected scores without NaN"
