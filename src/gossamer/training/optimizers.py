"""Which optimizers the engine can serve, and how: one table, read by name.

A masked weight stays at zero through an optimizer's step if its gradient, its state and the weight itself are zero there. That holds
for the rules marked `zero_is_fixed`; the others are masked again after every step. Growth asks for more: a state tensor of the
weight's own shape, whose entry can start afresh. An optimizer without one (LBFGS, Adafactor) serves fixed masks only.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import EngineError
from gossamer.training.methods.method import BoundInBytes, Method, stages_of
from gossamer.training.optimizer_state import rule_of
from gossamer.training.weight_bytes import BIRTH_TENSORS


def _forget(optimizer: Optimizer) -> None:
    """A new optimizer of torch has no state: it makes it at its first step."""
    optimizer.state.clear()


@torch.no_grad()
def _restart_adagrad(optimizer: Optimizer) -> None:
    """Adagrad makes its sums when it is constructed, and misses them afterwards."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["step"].zero_()
            optimizer.state[parameter]["sum"].fill_(group["initial_accumulator_value"])


@dataclass(frozen=True, kw_only=True)
class Support:
    """What the engine knows of one optimizer class."""

    zero_is_fixed: bool  # zero weight, gradient and state give zero weight and state, bit for bit
    can_edit: bool  # masks may change while it runs
    counts: str  # "none": no step count in the update; "adam": its bias correction can be redone; "shared": it cannot
    why: str = ""  # for those that cannot edit: the reason, as the end of a sentence
    restart: Callable[[Optimizer], None] = _forget  # makes the state what it was before the first step


_INNER = "it moves weights in inner iterations and keeps flat copies of past gradients"
_FACTORED = "it keeps its second moment as row and column sums, which have no entry for a single weight"
_STEP_SIZES = "it keeps a step size a weight that cannot start at zero"
_AVERAGE = "it keeps a running average of the weights themselves"

SUPPORT: Mapping[type[Optimizer], Support] = {
    torch.optim.SGD: Support(zero_is_fixed=True, can_edit=True, counts="none"),
    torch.optim.Adam: Support(zero_is_fixed=True, can_edit=True, counts="adam"),
    torch.optim.AdamW: Support(zero_is_fixed=True, can_edit=True, counts="adam"),
    torch.optim.RMSprop: Support(zero_is_fixed=True, can_edit=True, counts="none"),
    torch.optim.Adagrad: Support(zero_is_fixed=False, can_edit=True, counts="none", restart=_restart_adagrad),
    torch.optim.Adadelta: Support(zero_is_fixed=True, can_edit=True, counts="none"),
    torch.optim.NAdam: Support(zero_is_fixed=True, can_edit=True, counts="shared"),
    torch.optim.RAdam: Support(zero_is_fixed=True, can_edit=True, counts="shared"),
    torch.optim.Adamax: Support(zero_is_fixed=False, can_edit=True, counts="shared"),
    torch.optim.Muon: Support(zero_is_fixed=False, can_edit=True, counts="none"),
    torch.optim.LBFGS: Support(zero_is_fixed=False, can_edit=False, counts="none", why=_INNER),
    torch.optim.Adafactor: Support(zero_is_fixed=False, can_edit=False, counts="none", why=_FACTORED),
    torch.optim.Rprop: Support(zero_is_fixed=False, can_edit=False, counts="none", why=_STEP_SIZES),
    torch.optim.ASGD: Support(zero_is_fixed=False, can_edit=False, counts="none", why=_AVERAGE),
}

# An optimizer that is not in the table, such as a user's own: everything is masked after every step, and the shapes of its state
# are looked at before an edit.
UNKNOWN = Support(zero_is_fixed=False, can_edit=True, counts="none")


def support_for(optimizer: Optimizer) -> Support:
    """The row of `optimizer`: of its exact class, else of a base class that cannot edit, else UNKNOWN.

    >>> weight = torch.nn.Parameter(torch.zeros(2, 2))
    >>> support_for(torch.optim.SGD([weight], lr=0.1)).counts, support_for(torch.optim.LBFGS([weight])).can_edit
    ('none', False)
    """
    exact = SUPPORT.get(type(optimizer))
    if exact is not None:
        return exact
    for known, support in SUPPORT.items():
        if isinstance(optimizer, known) and not support.can_edit:
            return support
    return UNKNOWN


def check_optimizer(
    optimizer: Optimizer, method: Method, weights: Mapping[str, Tensor], *, per_weight_counts: bool
) -> Support:
    """The row of `optimizer`, if it can serve `method` on `weights` (by name); otherwise EngineError says what would."""
    stranger: object = optimizer
    if not isinstance(stranger, Optimizer):
        raise EngineError(f"expected a torch.optim.Optimizer, got {type(stranger).__name__}")
    support, who, how = support_for(optimizer), type(optimizer).__name__, type(method).__name__
    if not support.can_edit and method.last_edit > 0:
        raise EngineError(
            f"{who} cannot serve {how}, which changes masks while it trains: {support.why}; expected SGD, Adam or AdamW, or a fixed "
            "mask (static, or one_shot at step 0)"
        )
    if method.grows and per_weight_counts and support.counts == "shared":
        raise EngineError(
            f"{who} corrects its bias with one step count a tensor, and {how} grows weights that need their own: expected SGD, Adam or "
            "AdamW; or accept the shared count with adam_counts='shared'"
        )
    _check_planned_states(optimizer, support, method, weights, per_weight_counts=per_weight_counts)
    frozen = next((name for name, weight in weights.items() if not weight.requires_grad), None)
    if method.grows and frozen is not None:
        raise EngineError(
            f"{frozen!r} is frozen (requires_grad is False), and {how} would exchange what it has learned for grown weights that cannot "
            "learn: expected weights that train; leave it dense with Protection(names=…), given to compact_ where layers are compact, or "
            "use static or one_shot"
        )
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, weight in weights.items():
        if weight.requires_grad and id(weight) not in held:
            raise EngineError(
                f"the optimizer does not hold {name!r}: expected every masked weight in one of its parameter groups; make the optimizer "
                "from this model's parameters (after compact_, which makes new ones), or leave the weight out with layers= or protect="
            )
    return support


def check_restart(optimizer: Optimizer, method: Method) -> None:
    """Refuses, before the first step, an unknown optimizer that has state already, where a stage is to restart it.

    Restarting clears the state. An optimizer that makes it in its constructor does not make it again, and fails in the middle of the run.
    """
    restarts = any("optimizer" in stage.restart for stage in stages_of(method)[1:])
    if restarts and support_for(optimizer) is UNKNOWN and any(optimizer.state.values()):
        who, how = type(optimizer).__name__, type(method).__name__
        raise EngineError(
            f"{who} has state before its first step here, and {how} restarts it between stages by clearing that: expected an optimizer of "
            f"torch, or a new one that makes its state at its first step; make it there if {who} is yours, or leave the state alone with "
            "restart_optimizer=False"
        )


def _check_planned_states(
    optimizer: Optimizer,
    support: Support,
    method: Method,
    weights: Mapping[str, Tensor],
    *,
    per_weight_counts: bool,
) -> None:
    """EngineError if `method` promises a bound in bytes, and the optimizer keeps more tensors a weight than that was planned with."""
    if not isinstance(method, BoundInBytes) or method.peak_bytes is None or support is UNKNOWN:
        return
    ours = {id(weight) for weight in weights.values()}
    rule = rule_of(optimizer)
    groups = (group for group in optimizer.param_groups if any(id(p) in ours for p in group["params"]))
    births = BIRTH_TENSORS if method.grows and per_weight_counts and support.counts == "adam" else 0
    needed = max((rule.per_weight(group) + births for group in groups), default=0)
    if needed > method.states:
        also = ", the step counts of grown weights included" if births else ""
        raise EngineError(
            f"{type(method).__name__} keeps to {method.peak_bytes} bytes with {method.states} optimizer tensors a weight, and "
            f"{type(optimizer).__name__} has {needed}{also}: expected states={needed} in the method"
        )


def restart_state(optimizer: Optimizer) -> None:
    """The state of a new optimizer of the same settings, for all its parameters: moments, buffers and step counts begin again.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = torch.optim.Adam([weight])
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> restart_state(optimizer)
    >>> len(optimizer.state)
    0
    """
    support_for(optimizer).restart(optimizer)


def state_tensors(optimizer: Optimizer, weight: Tensor) -> Iterator[Tensor]:
    """Every tensor in the optimizer's state of `weight` that has the weight's shape: moments, buffers, maxima."""
    if weight in optimizer.state:
        for value in optimizer.state[weight].values():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                yield value


def check_state_can_be_edited(optimizer: Optimizer, weight: Tensor, name: str) -> None:
    """Raises EngineError if the state of `weight` cannot be edited entry by entry (an optimizer that is not in the table)."""
    for key, value in optimizer.state[weight].items() if weight in optimizer.state else ():
        if not isinstance(value, Tensor) or value.numel() <= 1:
            continue
        if value.shape != weight.shape or not value.is_floating_point():
            raise EngineError(
                f"{type(optimizer).__name__} keeps state {key!r} of shape {tuple(value.shape)} and type {value.dtype} for "
                f"{name!r} of shape {tuple(weight.shape)}: expected floating-point state of the weight's own shape, because an "
                "edit resets single entries; use SGD, Adam or AdamW, or a method whose mask is fixed (static)"
            )
