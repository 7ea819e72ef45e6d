"""Adam's step count, one for each grown weight.

Adam divides its moments by 1 - beta^t, where t counts the steps of the whole tensor. A weight grown at step b starts with zero
moments: they are tau = t - b steps old, and for a while far too small for that t. Then

    update(t) = lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

has m and v that stand for tau steps. With beta2 = 0.999 the second moment is the more wrong of the two, and the first update of a
grown weight is 0.1 / sqrt(0.001) = 3.2 times too long: the loss spikes after every regrowth.

The moments themselves do not depend on the count: m <- beta1 m + (1 - beta1) g, started at zero at growth, is what a weight-wise Adam
holds too. Only the division differs. So the optimizer is left alone, and after its step the grown weights receive

    w <- w + update(t) - update(tau)

which is exact for Adam and AdamW (decoupled decay, amsgrad, maximize, foreach, fused and capturable included: they change m, v or w,
not the division). A weight leaves the books when beta^tau is below the rounding of its type, for both betas.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_NEVER = -1  # birth of a weight that has the tensor's own count


class AdamCounts:
    """The births of grown weights: per weight tensor, the optimizer's step count when an entry was grown.

    `births[name]` is an int32 tensor of the weight's shape, -1 where the tensor's own count is right. Entries that need correction
    are listed once an edit, so that a step touches only them.
    """

    def __init__(self) -> None:
        self.births: dict[str, Tensor] = {}
        self._places: dict[
            str, tuple[tuple[Tensor, ...], Tensor]
        ] = {}  # indices of the grown, and which birth each has
        self._distinct: dict[str, tuple[int, ...]] = {}

    def record(self, name: str, weight: Tensor, optimizer: Optimizer, grown: Tensor, dropped: Tensor) -> None:
        """Notes an edit of `weight`: `grown` and `dropped` are bool tensors of its shape (grown wins where both are set)."""
        step = self._step(optimizer, weight)
        if step is None and name not in self.births:
            return  # before the first step all counts start together
        births = self.births.get(name)
        if births is None:
            births = torch.full_like(weight, _NEVER, dtype=torch.int32)
        births = births.to(weight.device)
        births.masked_fill_(dropped, _NEVER)
        births.masked_fill_(grown, step if step is not None else 0)
        self.births[name] = births
        self._places.pop(name, None)

    def correct(self, name: str, weight: Tensor, optimizer: Optimizer, group: Mapping[str, Any]) -> None:
        """After the optimizer's step: turns its update of the grown entries of `weight` into the update of their own counts.

        `group` is the parameter group of `weight`, with the learning rate of this step.
        """
        if name not in self.births:
            return
        now = self._step(optimizer, weight)
        assert now is not None  # a weight that grew has been stepped
        beta1, beta2 = (float(beta) for beta in group["betas"])
        if name not in self._places:
            self._list_places(name)
        if not self._distinct[name]:
            return
        places, which = self._places[name]
        ages = [now - birth for birth in self._distinct[name]]
        state = optimizer.state[weight]
        second = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
        first_moment, root = state["exp_avg"][places], second[places].sqrt()
        learning_rate, eps = float(group["lr"]), float(group["eps"])

        def per_entry(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=weight.dtype, device=weight.device)[which]

        taken = first_moment * (learning_rate / (1 - beta1**now)) / (root / (1 - beta2**now) ** 0.5 + eps)
        rate = per_entry([learning_rate / (1 - beta1**age) for age in ages])
        scale = per_entry([(1 - beta2**age) ** 0.5 for age in ages])
        own = first_moment * rate / (root / scale + eps)
        weight.index_put_(places, taken - own, accumulate=True)

        negligible = torch.finfo(weight.dtype).eps / 4
        if any(max(beta1, beta2) ** age < negligible for age in ages):
            old = max(birth for birth, age in zip(self._distinct[name], ages, strict=True)
                      if max(beta1, beta2) ** age < negligible)  # fmt: skip
            self.births[name].masked_fill_(self.births[name] <= old, _NEVER)
            self._places.pop(name)

    def load(self, births: Mapping[str, Tensor]) -> None:
        """Takes over saved births."""
        self.births = {name: tensor.clone() for name, tensor in births.items()}
        self._places.clear()

    def _list_places(self, name: str) -> None:
        births = self.births[name]
        places = births.ne(_NEVER).nonzero(as_tuple=True)
        distinct, which = torch.unique(births[places], return_inverse=True)
        self._places[name] = (places, which)
        self._distinct[name] = tuple(int(birth) for birth in distinct.tolist())

    @staticmethod
    def _step(optimizer: Optimizer, weight: Tensor) -> int | None:
        state = optimizer.state.get(weight, {}) if weight in optimizer.state else {}
        return int(state["step"].item()) if "step" in state else None
