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

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_NEVER = -1  # birth of a weight that has the tensor's own count
_PIECE = (
    1 << 16
)  # entries that are corrected at a time on the CPU, where temporaries shall stay small and in the cache
_PIECE_LISTED = 1 << 18  # entries that are looked through at a time


@dataclass(kw_only=True)
class _Grown:
    """The grown entries of one weight, listed once an edit, so that a step touches only them and never waits for the device.

    With a second moment of 0.999 an entry stays for 17,000 steps, so in the end nearly all may be listed: 6 bytes an entry of a compact
    weight, 10 of a masked matrix.
    """

    places: tuple[
        Tensor, ...
    ]  # int32 (int64 of huge weights), dimension by dimension: indices of the entries
    which: Tensor  # int16 (int32 of very many births): for every entry, which of `births` it has
    births: Tensor  # distinct births, ascending
    oldest: int  # the first of them
    now: int  # the optimizer's step count of this weight


class AdamCounts:
    """The births of grown weights: per weight tensor, the optimizer's step count when an entry was grown.

    `births[name]` is an int32 tensor of the weight's shape, -1 where the tensor's own count is right.
    """

    def __init__(self) -> None:
        self.births: dict[str, Tensor] = {}
        self._grown: dict[str, _Grown] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the births, and of the lists of recently grown entries."""
        listed = [
            tensor for grown in self._grown.values() for tensor in (*grown.places, grown.which, grown.births)
        ]
        return sum(tensor.nbytes for tensor in (*self.births.values(), *listed))

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
        self._grown.pop(name, None)

    def move(self, name: str, rewrite: Callable[[Tensor, float], None]) -> None:
        """The entries of a compact weight change places: `rewrite(tensor, empty)` moves a tensor of its shape in place."""
        if name in self.births:
            self._grown.pop(name, None)
            rewrite(self.births[name], _NEVER)

    def correct(self, name: str, weight: Tensor, optimizer: Optimizer, group: Mapping[str, Any]) -> None:
        """After the optimizer's step: turns its update of the grown entries of `weight` into the update of their own counts.

        `group` is the parameter group of `weight`, with the learning rate of this step.
        """
        if name not in self.births:
            return
        if name in self._grown:
            self._grown[name].now += 1
        else:
            self._list(name, weight, optimizer)
        if name not in self.births:
            return
        grown = self._grown[name]
        beta1, beta2 = (float(beta) for beta in group["betas"])
        learning_rate, eps, now = group["lr"], float(group["eps"]), grown.now
        state, ages = optimizer.state[weight], now - grown.births
        first, second = state["exp_avg"], state["max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"]
        rates, scales = learning_rate / _grown_up(beta1, ages), _grown_up(beta2, ages).sqrt()
        size = _PIECE if weight.device.type == "cpu" else len(grown.which)
        for begin in range(0, len(grown.which), size):
            piece = slice(begin, begin + size)
            places, which = tuple(index[piece].long() for index in grown.places), grown.which[piece].long()
            moment, root = first[places], second[places].sqrt()
            taken = moment * (learning_rate / (1 - beta1**now)) / (root / (1 - beta2**now) ** 0.5 + eps)
            own = moment * rates[which] / (root / scales[which] + eps)
            weight.index_put_(places, (taken - own).to(weight.dtype), accumulate=True)
        if max(beta1, beta2) ** (now - grown.oldest) < torch.finfo(weight.dtype).eps / 4:
            births = self.births[name]
            births.masked_fill_(births == grown.oldest, _NEVER)
            del self._grown[name]

    def load(self, births: Mapping[str, Tensor]) -> None:
        """Takes over saved births."""
        self.births = {name: tensor.clone() for name, tensor in births.items()}
        self.forget_places()

    def forget_places(self) -> None:
        """The optimizer's step counts have changed (its state was loaded): read them again."""
        self._grown.clear()

    def _list(self, name: str, weight: Tensor, optimizer: Optimizer) -> None:
        """Lists the grown entries of `weight`; one that has none any more leaves the books."""
        births = self.births[name].to(weight.device)
        count = int(births.ne(_NEVER).sum())
        if not count:
            del self.births[name]
            return
        small = torch.int32 if max(births.shape) < 1 << 31 else torch.int64
        places = tuple(torch.empty(count, dtype=small, device=births.device) for _ in births.shape)
        held, filled = torch.empty(count, dtype=torch.int32, device=births.device), 0
        rows = max(1, _PIECE_LISTED * len(births) // births.numel())
        for begin in range(0, len(births), rows):
            part = births[begin : begin + rows]
            found = part.ne(_NEVER).nonzero(as_tuple=True)
            here = slice(filled, filled + len(found[0]))
            for index, inside in zip(places, found, strict=True):
                index[here] = inside
            places[0][here] += begin
            held[here] = part[found]
            filled = here.stop
        distinct = torch.unique(held)
        which = torch.empty(
            count, dtype=torch.int16 if len(distinct) < 1 << 15 else torch.int32, device=held.device
        )
        for begin in range(0, count, _PIECE_LISTED):
            piece = slice(begin, begin + _PIECE_LISTED)
            which[piece] = torch.searchsorted(distinct, held[piece])
        now = self._step(optimizer, weight)
        assert now is not None  # a weight that grew has been stepped
        self.births[name] = births
        self._grown[name] = _Grown(
            places=places,
            which=which,
            births=distinct.to(torch.promote_types(weight.dtype, torch.float32)),
            oldest=int(distinct[0]),
            now=now,
        )

    @staticmethod
    def _step(optimizer: Optimizer, weight: Tensor) -> int | None:
        state = optimizer.state.get(weight, {}) if weight in optimizer.state else {}
        return int(state["step"].item()) if "step" in state else None


def _grown_up(beta: float, ages: Tensor) -> Tensor:
    """1 - beta^age, without cancellation at small ages."""
    return -torch.expm1(ages * (math.log(beta) if beta else -math.inf))
