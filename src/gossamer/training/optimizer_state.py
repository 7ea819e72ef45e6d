"""How many numbers an optimizer keeps for every weight, known before it has made a step.

torch makes optimizer state at the first step. Planning memory needs it earlier, so the table says for each class how many tensors of
the weight's own shape it will keep under the settings of a parameter group, and how many single numbers beside them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

from gossamer.errors import EngineError

Group = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StateRule:
    """Numbers a weight (tensors of the weight's shape) and numbers a tensor (its step count and the like)."""

    per_weight: Callable[[Group], int]
    per_tensor: int


def _always(number: int) -> Callable[[Group], int]:
    return lambda group: number


def _adam(group: Group) -> int:
    return 2 + bool(group["amsgrad"])


STATE: Mapping[type[Optimizer], StateRule] = {
    torch.optim.SGD: StateRule(per_weight=lambda group: int(group["momentum"] != 0), per_tensor=0),
    torch.optim.Adam: StateRule(per_weight=_adam, per_tensor=1),
    torch.optim.AdamW: StateRule(per_weight=_adam, per_tensor=1),
    torch.optim.RMSprop: StateRule(
        per_weight=lambda group: 1 + bool(group["centered"]) + (group["momentum"] > 0), per_tensor=1
    ),
    torch.optim.Adagrad: StateRule(per_weight=_always(1), per_tensor=1),
    torch.optim.Adadelta: StateRule(per_weight=_always(2), per_tensor=1),
    torch.optim.NAdam: StateRule(per_weight=_always(2), per_tensor=2),
    torch.optim.RAdam: StateRule(per_weight=_always(2), per_tensor=1),
    torch.optim.Adamax: StateRule(per_weight=_always(2), per_tensor=1),
    torch.optim.Rprop: StateRule(per_weight=_always(2), per_tensor=1),
    torch.optim.ASGD: StateRule(per_weight=_always(1), per_tensor=3),
    torch.optim.Muon: StateRule(per_weight=_always(1), per_tensor=0),
}


def rule_of(optimizer: Optimizer) -> StateRule:
    """The rule of the optimizer's class or of the nearest class that it derives from.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> adam = torch.optim.AdamW([weight], amsgrad=True)
    >>> rule_of(adam).per_weight(adam.param_groups[0])
    3
    """
    for kind in type(optimizer).__mro__:
        if kind in STATE:
            return STATE[kind]
    known = ", ".join(kind.__name__ for kind in STATE)
    raise EngineError(
        f"{type(optimizer).__name__}: the memory of its state cannot be predicted; expected one of {known}; make one step and measure "
        "with measured_memory instead"
    )


def number_bytes() -> int:
    """Bytes of one step count: torch keeps it in float32, in float64 where that is the default type."""
    return 8 if torch.get_default_dtype() == torch.float64 else 4
