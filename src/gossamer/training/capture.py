"""Dense gradients, taken at edit steps before they are masked.

Growth by gradient ranks absent weights, whose gradients the engine is about to zero. They are copied when `mask_gradients` (or the
optimizer's pre-hook) first sees them. A loop may do both, in any order: what has been taken is taken again only if the gradients are
another tensor, or hold a non-zero value at a dropped place, which means that a later backward pass has written them.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from gossamer.training.masks import MaskOwner


class DenseGradients:
    """Copies of dense gradients by weight name, for one step."""

    def __init__(self) -> None:
        self._taken: dict[str, Tensor] = {}
        self._sources: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self, owner: MaskOwner, names: Iterable[str]) -> None:
        for name in names:
            gradient = owner.slots[name].weight.grad
            if gradient is None:
                self._taken.pop(name, None)
                continue
            masked_since = name in self._taken and not bool(gradient[~owner.kept[name]].any())
            if masked_since and self._sources[name] is gradient:
                continue
            self._taken[name] = gradient.detach().clone()
            self._sources[name] = gradient

    def divide(self, scale: Tensor) -> None:
        """Undoes a loss scale that the optimizer itself would remove (fused optimizers under a scaler)."""
        self._taken = {name: tensor / scale.to(tensor.device) for name, tensor in self._taken.items()}

    def of(self, name: str, weight: Tensor) -> Tensor:
        """The gradient of a weight; zeros if no backward pass reached it."""
        return self._taken[name] if name in self._taken else torch.zeros_like(weight)

    def clear(self) -> None:
        self._taken.clear()
        self._sources.clear()
