"""Growth: which absent weights enter, and with which value.

A rule gives scores (higher = grows first); the pattern then chooses, `pattern.mask(scores, more, keep=kept)`, so that counts stay exact and
masks legal. Random rules draw from the explicit generator only. The caller excludes candidates (for instance those dropped in the same
edit) by a score of -inf. A fill gives the values of grown weights and declares the store it needs (none so far).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from gossamer.errors import MethodError
from gossamer.sparsity.criteria import Criterion, Gradient, View


class Growth(Protocol):
    """A rule that ranks absent weights."""

    @property
    def needs(self) -> frozenset[str]:
        """Which fields of the view it reads, as for a criterion."""
        ...

    def __call__(self, view: View, k: int, generator: torch.Generator | None = None) -> Tensor:
        """Scores [R, C] for growing to `k` kept entries; entries that are kept already may have any score but NaN."""
        ...


@dataclass(frozen=True, kw_only=True)
class Random:
    """Uniform over the absent weights (SET). Drawn on the CPU, so that the choice does not depend on the device.

    In a pattern of units the scores of a unit's entries add up, which keeps blocks equally likely; bundles of gather-scatter and window
    patterns are built from the best entries, which keeps positions equally likely, though not all sets of positions.

    >>> view = View(weight=torch.zeros(1, 3), mask=torch.zeros(1, 3).bool())
    >>> Random()(view, 1, torch.Generator().manual_seed(0))
    tensor([[0.4963, 0.7682, 0.0885]])
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, view: View, k: int, generator: torch.Generator | None = None) -> Tensor:
        if generator is None:
            raise MethodError("growth random: expected an explicit torch.Generator, got None")
        if generator.device.type != "cpu":
            raise MethodError(
                f"growth random: expected a generator on the CPU, got one on {generator.device}"
            )
        return torch.rand(view.mask.shape, generator=generator).to(view.mask.device)


@dataclass(frozen=True, kw_only=True)
class ByScore:
    """The absent weights with the highest score of a criterion (RigL: the dense gradient)."""

    criterion: Criterion = field(default_factory=Gradient)

    @property
    def needs(self) -> frozenset[str]:
        return self.criterion.needs

    def __call__(self, view: View, k: int, generator: torch.Generator | None = None) -> Tensor:
        return self.criterion(view, k, view.mask)


@dataclass(frozen=True, kw_only=True)
class All:
    """The whole scope becomes dense; the count, not the score, says so."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, view: View, k: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros(view.mask.shape, device=view.mask.device)


GROWTH: dict[str, Growth] = {"random": Random(), "gradient": ByScore(), "all": All()}

Fill = Callable[[View, Tensor], Tensor]


def zero(view: View, grown: Tensor) -> Tensor:
    """Grown weights start at zero: the function of the network does not jump.

    >>> zero(View(weight=torch.ones(1, 2), mask=torch.ones(1, 2).bool()), torch.tensor([[True, False]]))
    tensor([0.])
    """
    return view.weight.new_zeros(int(grown.sum()))


FILLS: dict[str, Fill] = {"zero": zero}
