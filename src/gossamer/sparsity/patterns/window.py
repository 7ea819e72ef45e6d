"""Window sparsity: rows of a group read the same aligned window of inputs, each row its own entry of it.

A *bundle* of "window:8" belongs to 8 consecutive rows and one aligned window of 8 columns, and takes exactly one column of the window in
each of the 8 rows. A mask is legal when in every (row group, window) all 8 rows keep the same number of entries: the t-th kept entries of
the rows form the t-th bundle. One vector load and one in-register permutation serve a bundle, so it needs 4 bits of index an entry; it is
far freer than an 8x1 block (8^8 choices a bundle).

Best mask: the t-th bundle of a window takes every row's t-th best entry; the gains of a window fall with t, so the K largest of the whole
matrix are the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from torch import Generator, Tensor

from gossamer.errors import PatternError
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
from gossamer.sparsity.patterns.tiles import bundle_gains, cut, join, top_bundles
from gossamer.sparsity.patterns.tiling import Tiling, cut_keys, draw_bundles, select_bundles


@dataclass(frozen=True, kw_only=True)
class Window:
    """`width` rows share each aligned window of `width` columns.

    >>> import torch
    >>> Window(width=2).mask(torch.tensor([[5.0, 1.0, 2.0, 2.0], [1.0, 4.0, 3.0, 2.0]]), 2).int()  # bundles gain 9, 2 and 5, 4
    tensor([[1, 0, 0, 0],
            [0, 1, 0, 0]], dtype=torch.int32)
    """

    width: int = 8

    def __post_init__(self) -> None:
        checked_parameters("window", width=self.width)
        if self.width < 2:
            raise PatternError(f"window: expected a width of at least 2, got {self.width}")

    @classmethod
    def parse(cls, arguments: str) -> Self:
        if not arguments.isdecimal():
            raise PatternError(f"expected window:W such as window:8, got 'window:{arguments}'")
        return cls(width=int(arguments))

    def for_weight(self, weight: tuple[int, ...]) -> Self:
        return self

    @property
    def group_rows(self) -> int:
        return self.width

    def counts(self, shape: Shape) -> range:
        rows, columns = checked_shape(self, shape, rows=self.width, columns=self.width)
        return range(0, rows * columns + 1, self.width)

    def target(self, shape: Shape) -> int | None:
        return None

    def mask(self, scores: Tensor, num_kept: int, keep: Tensor | None = None) -> Tensor:
        checked_request(self, scores, num_kept, keep)
        chosen = top_bundles(
            self._tiles(scores), num_kept // self.width, None if keep is None else self._tiles(keep)
        )
        mask = join(chosen, scores.shape)
        if keep is not None and bool((keep & ~mask).any()):
            raise cannot_complete(self, keep, num_kept)
        return mask

    def select(self, positions: Tensor, scores: Tensor, shape: Shape, num_kept: int) -> Tensor:
        nnz = checked_positions(self, positions, shape, num_kept, more=False)
        scores = checked_scores(self, scores, nnz)
        return select_bundles(self._keys(shape), positions, scores, num_kept // self.width)

    def draw(
        self,
        positions: Tensor,
        shape: Shape,
        num_kept: int,
        generator: Generator,
        exclude: Tensor | None = None,
    ) -> Tensor:
        nnz = checked_positions(self, positions, shape, num_kept, more=True)
        generator = checked_generator(self, generator)
        bundles = (num_kept - nnz) // self.width
        return draw_bundles(self._keys(shape), positions, bundles, generator, exclude)

    def gains(self, scores: Tensor) -> Tensor:
        return bundle_gains(self._tiles(scores))

    def check(self, mask: Tensor) -> None:
        checked_shape(self, checked_mask(self, mask), rows=self.width, columns=self.width)
        sums = self._tiles(mask).sum(dim=2)
        broken = sums != sums[:, :1]
        if bool(broken.any()):
            tile, lane = first(broken)
            group, window = divmod(tile, mask.shape[1] // self.width)
            raise PatternError(
                f"{self}: expected every row of a group to keep as many entries of a window, got {int(sums[tile, lane])} in row "
                f"{group * self.width + lane} and {int(sums[tile, 0])} in row {group * self.width}, columns "
                f"{window * self.width} to {window * self.width + self.width - 1}"
            )

    def __str__(self) -> str:
        return f"window:{self.width}"

    def _tiles(self, matrix: Tensor) -> Tensor:
        """[row groups x windows, rows of a group, columns of a window]."""
        checked_shape(self, (matrix.shape[0], matrix.shape[1]), rows=self.width, columns=self.width)
        return cut(matrix, rows=self.width, columns=self.width)

    def _keys(self, shape: Shape) -> Tiling:
        return cut_keys(shape, rows=self.width, columns=self.width, lanes=self.width)
