"""Block sparsity: blocks of consecutive outputs x consecutive inputs are kept or absent as a whole.

The score of a block is the sum of its entries' scores, so give |w| or w^2, not w. "block:4x1" (4 outputs x 1 input) is the fastest
pattern of our matrix products and "block:8x1" of our matrix-vector products, at the price of accuracy; both sides must be divisible.
"""

from __future__ import annotations

import re
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
class Block:
    """Blocks of `rows` consecutive outputs x `cols` consecutive inputs.

    >>> import torch
    >>> Block(rows=2, cols=1).mask(torch.tensor([[3.0, 0.0, 2.0], [0.0, 2.0, 2.0]]), 2)  # sums 3, 2, 4
    tensor([[False, False,  True],
            [False, False,  True]])
    """

    rows: int = 4
    cols: int = 1

    def __post_init__(self) -> None:
        checked_parameters("block", rows=self.rows, cols=self.cols)
        if self.rows < 1 or self.cols < 1 or self.rows * self.cols == 1:
            raise PatternError(f"block: expected RxC of at least two entries, got {self.rows}x{self.cols}")

    @classmethod
    def parse(cls, arguments: str) -> Self:
        found = re.fullmatch(r"(\d+)x(\d+)", arguments)
        if not found:
            raise PatternError(
                f"expected block:RxC (outputs x inputs) such as block:4x1, got 'block:{arguments}'"
            )
        return cls(rows=int(found[1]), cols=int(found[2]))

    def for_weight(self, weight: tuple[int, ...]) -> Self:
        return self

    @property
    def group_rows(self) -> int:
        return self.rows

    def counts(self, shape: Shape) -> range:
        rows, columns = checked_shape(self, shape, rows=self.rows, columns=self.cols)
        return range(0, rows * columns + 1, self.rows * self.cols)

    def target(self, shape: Shape) -> int | None:
        return None

    def mask(self, scores: Tensor, num_kept: int, keep: Tensor | None = None) -> Tensor:
        checked_request(self, scores, num_kept, keep)
        chosen = top_bundles(
            self._tiles(scores),
            num_kept // (self.rows * self.cols),
            None if keep is None else self._tiles(keep),
        )
        mask = join(chosen.reshape(-1, self.rows, self.cols), scores.shape)
        if keep is not None and bool((keep & ~mask).any()):
            raise cannot_complete(self, keep, num_kept)
        return mask

    def select(self, positions: Tensor, scores: Tensor, shape: Shape, num_kept: int) -> Tensor:
        nnz = checked_positions(self, positions, shape, num_kept, more=False)
        scores = checked_scores(self, scores, nnz)
        return select_bundles(self._keys(shape), positions, scores, num_kept // (self.rows * self.cols))

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
        bundles = (num_kept - nnz) // (self.rows * self.cols)
        return draw_bundles(self._keys(shape), positions, bundles, generator, exclude)

    def gains(self, scores: Tensor) -> Tensor:
        return bundle_gains(self._tiles(scores))

    def check(self, mask: Tensor) -> None:
        checked_shape(self, checked_mask(self, mask), rows=self.rows, columns=self.cols)
        sums = self._tiles(mask).sum(dim=(1, 2))
        broken = (sums != 0) & (sums != self.rows * self.cols)
        if bool(broken.any()):
            down, across = divmod(first(broken)[0], mask.shape[1] // self.cols)
            raise PatternError(
                f"{self}: expected all or none of the block at row {down * self.rows}, column {across * self.cols} to be kept, "
                f"got {int(sums[broken][0])} of {self.rows * self.cols}"
            )

    def __str__(self) -> str:
        return f"block:{self.rows}x{self.cols}"

    def _tiles(self, matrix: Tensor) -> Tensor:
        """[blocks, entries of a block, 1], blocks in row-major order."""
        checked_shape(self, (matrix.shape[0], matrix.shape[1]), rows=self.rows, columns=self.cols)
        return cut(matrix, rows=self.rows, columns=self.cols).reshape(-1, self.rows * self.cols, 1)

    def _keys(self, shape: Shape) -> Tiling:
        return cut_keys(shape, rows=self.rows, columns=self.cols, lanes=self.rows * self.cols)
