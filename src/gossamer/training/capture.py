"""Dense gradients, taken at edit steps before they are masked.

Growth by gradient ranks absent weights, whose gradients the engine is about to zero. They are copied when `mask_gradients` (or the
optimizer's pre-hook) first sees them. A loop may do both, and clip in between, in place or with new tensors: what has been taken is
taken again only if a dropped place holds a non-zero value, which means that a later backward pass has written it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from gossamer.training.stores import Stores


class DenseGradients:
    """Copies of dense gradients by weight name, for one step."""

    def __init__(self) -> None:
        self._taken: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self, owner: Stores, names: Iterable[str]) -> None:
        for name in names:
            gradient = owner.slots[name].weight.grad
            if gradient is None:
                self._taken.pop(name, None)
                continue
            if name not in self._taken or owner.has_new_gradient(name, gradient):
                self._taken[name] = gradient.detach().clone()

    def divide(self, scale: Tensor) -> None:
        """Undoes a loss scale that the optimizer itself would remove (fused optimizers under a scaler)."""
        self._taken = {name: tensor / scale.to(tensor.device) for name, tensor in self._taken.items()}

    def of(self, name: str, weight: Tensor) -> Tensor:
        """The gradient of a weight; zeros if no backward pass reached it."""
        return self._taken[name] if name in self._taken else torch.zeros_like(weight)

    def clear(self) -> None:
        self._taken.clear()
