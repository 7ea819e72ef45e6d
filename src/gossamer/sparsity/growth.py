"""Growth: which absent weights enter, and with which value.

A rule gives scores (higher = grows first); the pattern then chooses, `pattern.mask(scores, more, keep=kept)`, so that counts stay exact and
masks legal. The caller excludes candidates (for instance those dropped in the same edit) by a score of -inf. `Random` is no score: the
pattern draws positions by index, `pattern.draw`, from the explicit generator only, and no tensor of random scores exists.
A fill gives the values of grown weights and declares the store it needs (none so far).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from gossamer.sparsity.criteria import Criterion, Gradient, View


class Growth(Protocol):
    """A rule that ranks absent weights."""

    @property
    def needs(self) -> frozenset[str]:
        """Which fields of the view it reads, as for a criterion."""
        ...

    def __call__(self, view: View, k: int) -> Tensor:
        """Scores [R, C] for growing to `k` kept entries; entries that are kept already may have any score but NaN."""
        ...


@dataclass(frozen=True, kw_only=True)
class Random:
    """Uniform over the absent units of the pattern (SET): the engine calls `pattern.draw`. Drawn on the CPU, so that the choice does not
    depend on the device, nor on whether the weight is stored masked or compact.

    >>> from gossamer.sparsity.patterns import Unstructured
    >>> kept, generator = torch.tensor([2**39]), torch.Generator().manual_seed(0)
    >>> Unstructured().draw(kept, (2**20, 2**20), 4, generator).tolist()
    [291449381294, 506140877670, 741281442106]
    """

    needs: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class ByScore:
    """The absent weights with the highest score of a criterion (RigL: the dense gradient)."""

    criterion: Criterion = field(default_factory=Gradient)

    @property
    def needs(self) -> frozenset[str]:
        return self.criterion.needs

    @property
    def entrywise(self) -> bool:
        return getattr(self.criterion, "entrywise", False)

    def __call__(self, view: View, k: int) -> Tensor:
        return self.criterion(view, k, view.mask)


@dataclass(frozen=True, kw_only=True)
class All:
    """The whole scope becomes dense; the count, not the score, says so."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, view: View, k: int) -> Tensor:
        return torch.zeros(view.mask.shape, device=view.mask.device)


GROWTH: dict[str, Growth | Random] = {"random": Random(), "gradient": ByScore(), "all": All()}

Fill = Callable[[View, Tensor], Tensor]


def zero(view: View, grown: Tensor) -> Tensor:
    """Grown weights start at zero: the function of the network does not jump.

    >>> zero(View(weight=torch.ones(1, 2), mask=torch.ones(1, 2).bool()), torch.tensor([[True, False]]))
    tensor([0.])
    """
    return view.weight.new_zeros(int(grown.sum()))


FILLS: dict[str, Fill] = {"zero": zero}
