"""First-order Taylor: |w g|, the change of the loss if the weight were set to zero, to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gossamer.sparsity.criteria.view import View, needed_gradient


@dataclass(frozen=True, kw_only=True)
class Taylor:
    """|w g|.

    >>> import torch
    >>> Taylor()(View(weight=torch.tensor([[-2.0, 1.0]]), mask=torch.ones(1, 2).bool(), gradient=torch.tensor([[0.5, 3.0]])), 1)
    tensor([[1., 3.]])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"weight", "gradient"})
    entrywise: ClassVar[bool] = True

    def __call__(self, view: View, k: int, kept: Tensor | None = None) -> Tensor:
        return (view.weight * needed_gradient(view, "criterion taylor")).abs()
