"""N:M sparsity: of every M consecutive inputs of a row exactly N are kept ("2:4": two *kept* of four).

The pattern fixes its own sparsity, 1 - N/M: `target` is N per group. On the way there gradual methods pass through t:M for t = M, …, N,
the same t in every group, so the legal totals are t times the number of groups. Columns must be divisible by M.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import torch
from torch import Generator, Tensor

from gossamer.errors import PatternError
from gossamer.sparsity.patterns.drawing import draw_keys
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
from gossamer.sparsity.patterns.tiles import top_places


@dataclass(frozen=True, kw_only=True)
class NOfM:
    """N kept of M consecutive inputs.

    >>> import torch
    >>> NOfM(n=2, m=4).mask(torch.tensor([[4.0, 1.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0]]), 4).int()
    tensor([[1, 0, 1, 0, 1, 1, 0, 0]], dtype=torch.int32)
    >>> NOfM(n=2, m=4).counts((1, 8)), NOfM(n=2, m=4).target((1, 8))
    (range(0, 9, 2), 4)
    """

    n: int = 2  # kept entries of a group
    m: int = 4  # consecutive inputs of a group

    def __post_init__(self) -> None:
        checked_parameters("N:M", n=self.n, m=self.m)
        if not 1 <= self.n < self.m:
            advice = f"; write {self.m}:{self.n}" if self.n > self.m > 0 else ""
            raise PatternError(
                f"N:M: expected 1 <= N < M (N kept of M consecutive inputs), got {self.n}:{self.m}{advice}"
            )

    @classmethod
    def parse(cls, arguments: str) -> Self:
        found = re.fullmatch(r"(\d+):(\d+)", arguments)
        if not found:
            raise PatternError(f"expected N:M such as 2:4, got {arguments!r}")
        return cls(n=int(found[1]), m=int(found[2]))

    def for_weight(self, weight: tuple[int, ...]) -> Self:
        return self

    @property
    def group_rows(self) -> int:
        return 1

    def counts(self, shape: Shape) -> range:
        groups = self._groups(shape)
        return range(0, groups * self.m + 1, groups)

    def target(self, shape: Shape) -> int | None:
        return self._groups(shape) * self.n

    def mask(self, scores: Tensor, num_kept: int, keep: Tensor | None = None) -> Tensor:
        checked_request(self, scores, num_kept, keep)
        groups = scores.reshape(-1, self.m)
        per_group = num_kept // groups.shape[0]
        kept_groups = None if keep is None else keep.reshape(groups.shape)
        if keep is not None and kept_groups is not None and int(kept_groups.sum(dim=1).max()) > per_group:
            raise cannot_complete(self, keep, num_kept)
        return top_places(groups, per_group, kept_groups).reshape(scores.shape)

    def select(self, positions: Tensor, scores: Tensor, shape: Shape, num_kept: int) -> Tensor:
        nnz = checked_positions(self, positions, shape, num_kept, more=False)
        scores = checked_scores(self, scores, nnz)
        groups = self._groups(shape)
        if not torch.equal(positions[:: nnz // groups or 1] // self.m, torch.arange(groups if nnz else 0)):
            raise PatternError(f"{self}: expected positions with equally many of every {self.m} columns")
        return top_places(scores.reshape(groups, nnz // groups), num_kept // groups, None).flatten()

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
        groups = torch.arange(self._groups(shape))
        wanted = torch.full_like(groups, (num_kept - nnz) // groups.numel())
        return draw_keys(positions, groups, wanted, size=self.m, generator=generator, exclude=exclude)

    def gains(self, scores: Tensor) -> Tensor:
        self._groups((scores.shape[0], scores.shape[1]))
        return scores.reshape(-1, self.m).double().sort(dim=1, descending=True).values.sum(dim=0)

    def check(self, mask: Tensor) -> None:
        rows, columns = checked_shape(self, checked_mask(self, mask), rows=1, columns=self.m)
        sums = mask.reshape(rows, columns // self.m, self.m).sum(dim=2)
        broken = sums != sums[0, 0]
        if bool(broken.any()):
            row, group = first(broken)
            raise PatternError(
                f"{self}: expected the same number in every group, {int(sums[0, 0])} as in the first, "
                f"got {int(sums[row, group])} in row {row}, columns {group * self.m} to {group * self.m + self.m - 1}"
            )

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    def _groups(self, shape: Shape) -> int:
        rows, columns = checked_shape(self, shape, rows=1, columns=self.m)
        return rows * columns // self.m
