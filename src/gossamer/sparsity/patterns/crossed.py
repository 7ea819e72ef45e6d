"""Vertical and hybrid gather-scatter bundles as positions: in a bundle every residue has one entry, and every row of the group k.

*Select* runs the projections of `projections.py` on what is active. The exact one sees a matrix without the absent columns of every
(row, residue) cell, in which cells are as wide as the fullest active one; the greedy one sees strips of groups, no more entries at a time
than are active, but one group at least.

*Draw* proposes bundles uniformly at random (a random permutation of the residues over the rows, random columns) and takes those whose
entries are all absent: uniform over absent bundles. Where that does not succeed, because little is absent, the group is completed by the
exact projection of random scores, one group at a time: what is absent of a legal mask is legal itself, so there is always an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gossamer.sparsity.patterns.drawing import below, held_in, holds, merged, runs
from gossamer.sparsity.patterns.projections import exact_mask, walked_mask
from gossamer.sparsity.patterns.tiling import Tiling, draw_tiles, filled_tiles, select_bundles

_ROUNDS = 32  # of proposals: enough for all but one bundle in 10^4 where three quarters of the entries are absent and B = 4


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """Groups of `rows` rows as tiles with the residues as lanes; a place is (row of the group, column // B)."""

    tiling: Tiling
    rows: int  # g
    per_row: int  # k

    @property
    def banks(self) -> int:
        return self.tiling.lanes

    @property
    def cell(self) -> int:
        """Entries of one (row, residue), C / B."""
        return self.tiling.depth // self.rows


def select_exact(crossed: Crossed, positions: Tensor, scores: Tensor, num_bundles: int) -> Tensor:
    """bool [nnz]: the optimum of `num_bundles` bundles among the active entries."""
    if not num_bundles:
        return torch.zeros(positions.numel(), dtype=torch.bool)
    cells = crossed.tiling.keys(positions) // crossed.cell
    order = cells.argsort(stable=True)
    cells = cells[order]
    nth = torch.arange(cells.numel()) - torch.searchsorted(cells, cells)
    lane = cells // crossed.rows
    active, _, group = runs(lane // crossed.banks)
    row = group * crossed.rows + cells % crossed.rows
    column = nth * crossed.banks + lane % crossed.banks
    width = int(nth.max()) + 1
    narrow = torch.full(
        (active.numel() * crossed.rows, width * crossed.banks), -torch.inf, dtype=torch.float64
    )
    narrow[row, column] = scores[order].double()
    found = exact_mask(narrow, banks=crossed.banks, per_row=crossed.per_row, bundles=num_bundles, keep=None)
    return torch.zeros(positions.numel(), dtype=torch.bool).scatter_(0, order, found[row, column])


def select_greedy(crossed: Crossed, positions: Tensor, scores: Tensor, num_bundles: int) -> Tensor:
    """bool [nnz]: the greedy choice of `num_bundles` bundles among the active entries."""
    relaxed = select_bundles(crossed.tiling, positions, scores, num_bundles)
    size, banks = crossed.tiling.size, crossed.banks
    active, _, group = runs(positions // size)
    share = torch.bincount(group[relaxed], minlength=active.numel()) // banks
    chosen = torch.zeros(positions.numel(), dtype=torch.bool)
    strips = max(1, positions.numel() // size)
    for start in range(0, active.numel(), strips):
        here = ((group >= start) & (group < start + strips)).nonzero().flatten()
        where = (group[here] - start) * size + positions[here] % size
        strip = torch.full((min(strips, active.numel() - start), size), -torch.inf, dtype=scores.dtype)
        strip.view(-1)[where] = scores[here]
        matrix = strip.reshape(-1, size // crossed.rows)
        taken = walked_mask(matrix, share[start : start + strips], banks=banks, per_row=crossed.per_row)
        chosen[here] = taken.flatten()[where]
    if int(chosen.sum()) < num_bundles * banks:  # an absent entry was taken: the shares are wrong
        return select_exact(crossed, positions, scores, num_bundles)
    return chosen


def draw_crossed(
    crossed: Crossed, positions: Tensor, num_bundles: int, generator: Generator, exclude: Tensor | None
) -> Tensor:
    """Sorted positions of `num_bundles` absent bundles."""
    tiling = crossed.tiling
    before = tiling.keys(positions).sort().values
    held = torch.empty(0, dtype=torch.int64) if exclude is None else tiling.keys(exclude).sort().values
    filled = [filled_tiles(tiling, before)]
    groups, more = draw_tiles(tiling, filled, num_bundles, generator, None if exclude is None else held)
    missing = groups.repeat_interleave(more)
    parts = [before, held]
    for _ in range(_ROUNDS):
        if not missing.numel():
            break
        proposed = _propose(crossed, missing, generator)
        order = proposed.flatten().argsort(stable=True)
        ordered = proposed.flatten()[order]
        twice = torch.zeros(order.numel(), dtype=torch.bool)
        twice[order[1:]] = ordered[1:] == ordered[:-1]  # also in an earlier proposal of this round
        bad = (twice.reshape(proposed.shape) | held_in(parts, proposed)).any(dim=1)
        parts.append(proposed[~bad].flatten().sort().values)
        missing = missing[bad]
    taken = torch.cat([before, *parts[2:]]).sort().values
    for group, count in zip(*(x.tolist() for x in runs(missing)[:2]), strict=True):
        taken = _completed(crossed, taken, group, count, generator, held)
    return tiling.positions(taken[~holds(before, taken)]).sort().values


def _propose(crossed: Crossed, groups: Tensor, generator: Generator) -> Tensor:
    """int64 [n, B]: the keys of one uniformly random bundle in each of the groups, absent or not."""
    banks = crossed.banks
    residue = torch.rand((groups.numel(), banks), generator=generator, dtype=torch.float64).argsort(dim=1)
    row = (torch.arange(banks) // crossed.per_row).expand_as(residue)
    column = below(torch.full_like(residue, crossed.cell), generator)
    return ((groups[:, None] * banks + residue) * crossed.rows + row) * crossed.cell + column


def _completed(
    crossed: Crossed, taken: Tensor, group: int, more: int, generator: Generator, held: Tensor
) -> Tensor:
    """`taken` with `more` bundles in one group, by the best mask of random scores there."""
    tiling, size = crossed.tiling, crossed.tiling.size
    first = group * size

    def strip(keys: Tensor) -> Tensor:
        mask = torch.zeros(size, dtype=torch.bool)
        mask[tiling.positions(keys[(keys >= first) & (keys < first + size)]) - first] = True
        return mask.reshape(crossed.rows, -1)

    kept = strip(taken)
    scores = torch.rand(kept.shape, generator=generator, dtype=torch.float64).masked_fill(
        strip(held), -torch.inf
    )
    bundles = int(kept.sum()) // crossed.banks + more
    mask = exact_mask(scores, banks=crossed.banks, per_row=crossed.per_row, bundles=bundles, keep=kept)
    return merged(taken, tiling.keys(first + (mask & ~kept).flatten().nonzero().flatten()).sort().values)
