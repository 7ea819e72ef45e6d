"""Gather-scatter sparsity GS(B, k): every bundle of B entries reads B inputs from B different banks.

Inputs lie in B banks, column c in bank c mod B. Rows stand in groups of g = B / k. A *bundle* is B positions of one group, exactly k in
each of its rows, all of different residue mod B. A mask is legal when every group is a disjoint union of bundles. k = B is *horizontal*
(one row), k = 1 *vertical* (one entry in each of B rows), anything between *hybrid*; B must be a power of two and k divide it.

Counting form: a group with T bundles is legal if and only if every row keeps k T and every residue T entries; the bundles themselves can
always be found afterwards (a T-regular bipartite multigraph splits into T perfect matchings). T may differ between groups.

Best mask. Horizontal: sort every residue class, the t-th bundle of a row takes the t-th best of each class, keep the K largest gains.
Vertical and hybrid: a transportation problem between rows and residues, solved exactly as a min-cost flow (`gossamer.kernels.project`,
on the CPU); the bundles are shared among groups by their marginal gains, which fall with T. `projection="greedy"` walks the entries by
falling score instead and needs no native library; its measured loss stands in docs/concepts/pattern.md. It changes nothing for
horizontal bundles. Optimal masks are not nested in K: to drop, give -inf to the absent entries.

Ties: equal entries of one (row, residue) go to the lower column, equal horizontal bundles to the lower row, equal groups to the lower
group; among several optimal flows the choice is deterministic but not specified.

Paper: Load-balanced Gather-scatter Patterns for Sparse Deep Neural Networks, 2021. Deviations: the projections (the paper does not state
its own) and the bank of a convolution's column, which follows the column order (kh, kw, c_in) of `view.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from torch import Generator, Tensor

from gossamer.errors import PatternError
from gossamer.sparsity.patterns.crossed import Crossed, draw_crossed, select_exact, select_greedy
from gossamer.sparsity.patterns.pattern import (
    Shape,
    cannot_complete,
    checked_generator,
    checked_mask,
    checked_parameters,
    checked_positions,
    checked_request,
    checked_scores,
    checked_shape,
    first,
)
from gossamer.sparsity.patterns.projections import exact_mask, greedy_mask
from gossamer.sparsity.patterns.tiles import bundle_gains, top_bundles
from gossamer.sparsity.patterns.tiling import Tiling, draw_bundles, select_bundles


@dataclass(frozen=True, kw_only=True)
class GatherScatter:
    """Bundles of `banks` entries, `per_row` in each row, from distinct residues.

    >>> import torch
    >>> GatherScatter(banks=2, per_row=1).mask(torch.tensor([[9.0, 8.0], [7.0, 1.0]]), 2).int()  # 8 + 7 beats 9 + 1
    tensor([[0, 1],
            [1, 0]], dtype=torch.int32)
    >>> GatherScatter(banks=2, per_row=2).mask(torch.tensor([[9.0, 8.0], [7.0, 1.0]]), 2).int()  # horizontal: both of a row
    tensor([[1, 1],
            [0, 0]], dtype=torch.int32)
    """

    banks: int = 8  # B, lanes of a bundle
    per_row: int = 1  # k, entries of a bundle in one row
    projection: Literal["exact", "greedy"] = "exact"

    def __post_init__(self) -> None:
        checked_parameters("gs:B,k", banks=self.banks, per_row=self.per_row)
        if self.banks < 2 or self.banks & (self.banks - 1):
            raise PatternError(f"gs:B,k: expected B to be a power of two, at least 2, got B = {self.banks}")
        if self.per_row < 1 or self.banks % self.per_row:
            raise PatternError(f"gs:B,k: expected k to divide B = {self.banks}, got k = {self.per_row}")
        if self.projection not in ("exact", "greedy"):
            raise PatternError(
                f"gs:B,k: expected the projection 'exact' or 'greedy', got {self.projection!r}"
            )

    @classmethod
    def parse(cls, arguments: str) -> Self:
        banks, _, rest = arguments.partition(",")
        per_row, comma, projection = rest.partition(",")
        if not (banks.isdecimal() and per_row.isdecimal()) or (
            comma and projection not in ("exact", "greedy")
        ):
            raise PatternError(f"expected gs:B,k or gs:B,k,greedy such as gs:8,1, got 'gs:{arguments}'")
        return cls(
            banks=int(banks), per_row=int(per_row), projection="greedy" if projection == "greedy" else "exact"
        )

    @property
    def group_rows(self) -> int:
        """g, the rows of a group."""
        return self.banks // self.per_row

    def for_weight(self, weight: tuple[int, ...]) -> Self:
        return self

    def counts(self, shape: Shape) -> range:
        rows, columns = checked_shape(self, shape, rows=self.group_rows, columns=self.banks)
        return range(0, rows * columns + 1, self.banks)

    def target(self, shape: Shape) -> int | None:
        return None

    def mask(self, scores: Tensor, num_kept: int, keep: Tensor | None = None) -> Tensor:
        checked_request(self, scores, num_kept, keep)
        bundles = num_kept // self.banks
        if self.group_rows == 1:
            chosen = top_bundles(self._tiles(scores), bundles, None if keep is None else self._tiles(keep))
            mask = chosen.transpose(1, 2).reshape(scores.shape)
        else:
            project = exact_mask if self.projection == "exact" else greedy_mask
            mask = project(scores, banks=self.banks, per_row=self.per_row, bundles=bundles, keep=keep)
        if keep is not None and bool((keep & ~mask).any()):
            raise cannot_complete(self, keep, num_kept)
        return mask

    def select(self, positions: Tensor, scores: Tensor, shape: Shape, num_kept: int) -> Tensor:
        nnz = checked_positions(self, positions, shape, num_kept, more=False)
        scores, bundles = checked_scores(self, scores, nnz), num_kept // self.banks
        if self.group_rows == 1:
            return select_bundles(self._keys(shape), positions, scores, bundles)
        choose = select_exact if self.projection == "exact" else select_greedy
        return choose(self._crossed(shape), positions, scores, bundles)

    def draw(
        self,
        positions: Tensor,
        shape: Shape,
        num_kept: int,
        generator: Generator,
        exclude: Tensor | None = None,
    ) -> Tensor:
        nnz = checked_positions(self, positions, shape, num_kept, more=True)
        generator, bundles = checked_generator(self, generator), (num_kept - nnz) // self.banks
        if self.group_rows == 1:
            return draw_bundles(self._keys(shape), positions, bundles, generator, exclude)
        return draw_crossed(self._crossed(shape), positions, bundles, generator, exclude)

    def gains(self, scores: Tensor) -> Tensor:
        """Exact for horizontal bundles; for the others an upper bound that leaves out the balance of rows (good enough to rank)."""
        return bundle_gains(self._tiles(scores))

    def check(self, mask: Tensor) -> None:
        rows, columns = checked_shape(
            self, checked_mask(self, mask), rows=self.group_rows, columns=self.banks
        )
        grouped = mask.reshape(rows // self.group_rows, self.group_rows, columns // self.banks, self.banks)
        by_row, by_residue = grouped.sum(dim=(2, 3)), grouped.sum(dim=(1, 2))
        expected = by_row.sum(dim=1) // self.banks  # T of each group
        wrong_rows = by_row != self.per_row * expected[:, None]
        wrong_residues = by_residue != expected[:, None]
        if bool(wrong_rows.any()):
            group, row = first(wrong_rows)
            raise PatternError(
                f"{self}: expected {self.per_row * int(expected[group])} kept in each row of {self._rows(group)}, "
                f"got {int(by_row[group, row])} in row {group * self.group_rows + row}"
            )
        if bool(wrong_residues.any()):
            group, residue = first(wrong_residues)
            raise PatternError(
                f"{self}: expected {int(expected[group])} kept of every residue mod {self.banks} in {self._rows(group)}, "
                f"got {int(by_residue[group, residue])} in columns of residue {residue}"
            )

    def __str__(self) -> str:
        return f"gs:{self.banks},{self.per_row}" + (",greedy" if self.projection == "greedy" else "")

    def _rows(self, group: int) -> str:
        first_row, height = group * self.group_rows, self.group_rows
        return f"row {first_row}" if height == 1 else f"rows {first_row} to {first_row + height - 1}"

    def _tiles(self, matrix: Tensor) -> Tensor:
        """[groups, residues, entries of a residue class], entries in row-major order."""
        rows, columns = checked_shape(
            self, (matrix.shape[0], matrix.shape[1]), rows=self.group_rows, columns=self.banks
        )
        entries = self.group_rows * columns // self.banks
        return matrix.reshape(rows // self.group_rows, entries, self.banks).transpose(1, 2)

    def _keys(self, shape: Shape) -> Tiling:
        """Tiles = groups, lanes = residues, places = entries of a residue class in row-major order."""
        banks, entries = self.banks, self.group_rows * shape[1] // self.banks

        def keys(positions: Tensor) -> Tensor:
            group, entry = positions // (entries * banks), positions % (entries * banks)
            return (group * banks + entry % banks) * entries + entry // banks

        def positions(keys: Tensor) -> Tensor:
            lane, place = keys // entries, keys % entries
            return (lane // banks * entries + place) * banks + lane % banks

        tiles = shape[0] // self.group_rows
        return Tiling(
            tiles=tiles, lanes=banks, depth=entries, strip=entries * banks, keys=keys, positions=positions
        )

    def _crossed(self, shape: Shape) -> Crossed:
        return Crossed(tiling=self._keys(shape), rows=self.group_rows, per_row=self.per_row)
