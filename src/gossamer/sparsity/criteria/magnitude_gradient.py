"""Magnitude plus gradient: |w| + lambda |g|, so that a small weight that is about to grow is not dropped (MEST)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gossamer.sparsity.criteria.view import View, needed_gradient


@dataclass(frozen=True, kw_only=True)
class MagnitudeGradient:
    """|w| + `gradient_weight` |g|.

    >>> import torch
    >>> view = View(weight=torch.tensor([[-2.0, 1.0]]), mask=torch.ones(1, 2).bool(), gradient=torch.tensor([[0.5, -8.0]]))
    >>> MagnitudeGradient(gradient_weight=0.5)(view, 1)
    tensor([[2.2500, 5.0000]])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"weight", "gradient"})
    entrywise: ClassVar[bool] = True

    gradient_weight: float = (
        1.0  # lambda; in units of weight per gradient, so it depends on the loss scale: tune it
    )

    def __call__(self, view: View, k: int, kept: Tensor | None = None) -> Tensor:
        scores = needed_gradient(view, "criterion magnitude_gradient").abs().mul_(self.gradient_weight)
        return scores.add_(view.weight.abs())  # in place: an edit of a large weight is bound by memory
