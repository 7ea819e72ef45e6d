"""Unstructured sparsity: every mask is legal, the best one keeps the largest scores.

The yardstick of all other patterns (their *kept score* is measured against it). Stored as a value stream with one gap byte per entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Generator, Tensor

from gossamer.errors import PatternError
from gossamer.sparsity.patterns.drawing import draw_keys
from gossamer.sparsity.patterns.pattern import (
    Shape,
    checked_generator,
    checked_mask,
    checked_positions,
    checked_request,
    checked_scores,
    checked_shape,
)
from gossamer.sparsity.patterns.tiles import top_entries


@dataclass(frozen=True, kw_only=True)
class Unstructured:
    """Any entries.

    >>> import torch
    >>> Unstructured().mask(torch.tensor([[3.0, 1.0], [2.0, 2.0]]), 2)  # among equals the lower row-major index wins
    tensor([[ True, False],
            [ True, False]])
    """

    @classmethod
    def parse(cls, arguments: str) -> Self:
        if arguments:
            raise PatternError(f"expected 'unstructured' without parameters, got 'unstructured:{arguments}'")
        return cls()

    def for_weight(self, weight: tuple[int, ...]) -> Self:
        return self

    @property
    def group_rows(self) -> int:
        return 1

    def counts(self, shape: Shape) -> range:
        rows, columns = checked_shape(self, shape, rows=1, columns=1)
        return range(rows * columns + 1)

    def target(self, shape: Shape) -> int | None:
        return None

    def mask(self, scores: Tensor, num_kept: int, keep: Tensor | None = None) -> Tensor:
        checked_request(self, scores, num_kept, keep)
        return top_entries(scores.flatten(), num_kept, None if keep is None else keep.flatten()).reshape(
            scores.shape
        )

    def select(self, positions: Tensor, scores: Tensor, shape: Shape, num_kept: int) -> Tensor:
        nnz = checked_positions(self, positions, shape, num_kept, more=False)
        return top_entries(checked_scores(self, scores, nnz), num_kept, None)

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
        whole, wanted = torch.zeros(1, dtype=torch.int64), torch.tensor([num_kept - nnz])
        size = shape[0] * shape[1]
        return draw_keys(positions, whole, wanted, size=size, generator=generator, exclude=exclude)

    def gains(self, scores: Tensor) -> Tensor:
        return scores.flatten().double().sort(descending=True).values

    def check(self, mask: Tensor) -> None:
        checked_mask(self, mask)

    def __str__(self) -> str:
        return "unstructured"
