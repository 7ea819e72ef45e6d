"""Gradient: the score of a weight is |dL/dw|, also where the weight is absent (RigL grows by it)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gossamer.sparsity.criteria.view import View, needed_gradient


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """|g|.

    >>> import torch
    >>> Gradient()(View(weight=torch.zeros(1, 2), mask=torch.ones(1, 2).bool(), gradient=torch.tensor([[-0.5, 0.1]])), 1)
    tensor([[0.5000, 0.1000]])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    entrywise: ClassVar[bool] = True

    def __call__(self, view: View, k: int, kept: Tensor | None = None) -> Tensor:
        return needed_gradient(view, "criterion gradient").abs()
