"""Magnitude: the score of a weight is |w|. Cheap, and hard to beat after training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gossamer.sparsity.criteria.view import View


@dataclass(frozen=True, kw_only=True)
class Magnitude:
    """|w|.

    >>> import torch
    >>> Magnitude()(View(weight=torch.tensor([[-2.0, 1.0]]), mask=torch.ones(1, 2).bool()), 1)
    tensor([[2., 1.]])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    entrywise: ClassVar[bool] = True

    def __call__(self, view: View, k: int, kept: Tensor | None = None) -> Tensor:
        return view.weight.abs()
