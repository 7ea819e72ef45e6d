"""What a criterion or a growth rule sees of one layer, and what both promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from gossamer.errors import MethodError


@dataclass(frozen=True, kw_only=True)
class View:
    """One layer as matrices [R, C] (rows = outputs, columns as in `gossamer.sparsity.view`), all on one device."""

    weight: Tensor
    mask: Tensor  # bool, True = kept
    gradient: Tensor | None = (
        None  # of the loss by the *dense* weight, unscaled; None where no criterion asked for it
    )
    activation: Tensor | None = None  # [C]: root mean square of each input, or None


class Criterion(Protocol):
    """A score function: higher = keep. A frozen record of its parameters, pure in the view.

    One whose score of an entry depends on that entry alone says so with `entrywise = True`: large weights are then scored in pieces.
    """

    @property
    def needs(self) -> frozenset[str]:
        """Which fields of the view it reads, of "weight", "gradient", "activation"."""
        ...

    def __call__(self, view: View, k: int, kept: Tensor | None = None) -> Tensor:
        """Scores [R, C]. `k` is the number that will be kept, `kept` what is already chosen; most criteria ignore both."""
        ...


def needed_gradient(view: View, who: str) -> Tensor:
    """The view's dense gradient, or a sentence for the user where there is none."""
    if view.gradient is None:
        raise MethodError(
            f"{who} needs dense gradients: expected a gradient of every weight, got none; use magnitude or random instead"
        )
    return view.gradient
