"""The engines of the training benchmark: the same network trained dense, masked, compact, and by SparseLab.

    dense               torch
    dense NHWC          torch with channels_last memory; networks of images only
    masked, NHWC        the Sparsifier's masks over dense weights, static
    compact             gossamer.compact_: parameters are the kept values; networks of images in channels_last memory, the faster one
                        (with a method that edits, the Sparsifier edits them)
    sparselab           its SparseLinear in place of linear layers (package `sparselab`, unstructured only)

A step is forward, cross entropy, backward, optimizer step and zero_grad.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, util
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.bench.training.networks import Network
from gossamer.errors import BudgetError
from gossamer.sparsity.patterns import parse_pattern
from gossamer.training import Sparsifier
from gossamer.training.compact import compact_
from gossamer.training.layers import choose
from gossamer.training.memory import Memory, measured_memory
from gossamer.training.methods import MEST, SET, Method, Static

OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=1e-3),
}


METHODS: dict[str, Callable[[Setting], Method]] = {
    "static": lambda setting: Static(
        sparsity=setting.sparsity, pattern=setting.pattern, allocation="uniform"
    ),
    "set": lambda setting: SET(
        sparsity=setting.sparsity,
        pattern=setting.pattern,
        allocation="uniform",
        every=setting.every,
        stop=_LONG,
    ),
    "mest": lambda setting: MEST(
        sparsity=setting.sparsity,
        pattern=setting.pattern,
        allocation="uniform",
        kind="em&s",
        mutation=None if setting.sparsity is None else (1 - setting.sparsity) / 10,
        every=setting.every,
        stop=_LONG,
    ),
}
"""What places the kept entries: once, or exchanged every so many steps; mest: EM&S with a peak a tenth above the target density."""

_LONG = 1 << 15  # steps: longer than anything that is measured


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every engine trains."""

    network: Network
    sparsity: float | None  # None: the pattern's own
    pattern: str
    optimizer: str
    batch: int
    method_name: str = "static"
    every: int = 100  # steps between its edits

    def __post_init__(self) -> None:
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise BudgetError(f"--sparsity: expected 0 <= sparsity < 1, got {self.sparsity}")
        if self.batch < 1:
            raise BudgetError(f"--batch: expected at least 1 example, got {self.batch}")
        if self.optimizer not in OPTIMIZERS:
            raise BudgetError(f"--optimizer: expected one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if self.method_name not in METHODS:
            raise BudgetError(f"--method: expected one of {', '.join(METHODS)}, got {self.method_name!r}")
        parse_pattern(self.pattern)
        _ = self.method  # what it refuses is told now

    @property
    def method(self) -> Method:
        return METHODS[self.method_name](self)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One engine's network, ready to train."""

    step: Callable[[], object]
    memory: Callable[[], Memory]


def _backward(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    nn.functional.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]


def _trained(
    setting: Setting, model: nn.Module, *, channels_last: bool = False, sparsifier: bool = False
) -> Trained:
    inputs, labels = setting.network.examples(setting.batch)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = inputs.to(memory_format=torch.channels_last)
    optimizer = OPTIMIZERS[setting.optimizer](model)
    engine = (
        Sparsifier(model, setting.method, optimizer, seed=0, protect=setting.network.protect)
        if sparsifier
        else None
    )
    model.train()

    def step() -> None:
        _backward(model, inputs, labels)
        optimizer.step()
        optimizer.zero_grad()

    def memory() -> Memory:
        _backward(model, inputs, labels)
        optimizer.step()
        return measured_memory(model, optimizer, engine)

    return Trained(step=step, memory=memory)


def dense(setting: Setting) -> Trained:
    return _trained(setting, setting.network.build())


def dense_nhwc(setting: Setting) -> Trained:
    return _trained(setting, setting.network.build(), channels_last=True)


def masked(setting: Setting) -> Trained:
    return _trained(setting, setting.network.build(), sparsifier=True)


def masked_nhwc(setting: Setting) -> Trained:
    return _trained(setting, setting.network.build(), channels_last=True, sparsifier=True)


def compact(setting: Setting) -> Trained:
    """No dense weight ever exists: the network is built without memory, and its layers are made one by one."""
    with torch.device("meta"):
        model = setting.network.build()
    compact_(model, setting.method, seed=0, protect=setting.network.protect)
    edits = setting.method.last_edit > 0
    return _trained(setting, model, channels_last=setting.network.is_image, sparsifier=edits)


def sparselab(setting: Setting) -> Trained:
    lab: Any = import_module("sparselab")
    model = setting.network.build()
    chosen = choose(model, parse_pattern("unstructured"), setting.network.protect, None)
    assert isinstance(model, nn.Sequential)
    for name in chosen.masked:
        place = int(name.split(".")[0])
        old: Any = model[place]
        model[place] = lab.SparseLinear(old.in_features, old.out_features, sparsity=setting.sparsity)
    return _trained(setting, model)


ENGINES: dict[str, Callable[[Setting], Trained]] = {
    "dense": dense,
    "dense NHWC": dense_nhwc,
    "masked": masked,
    "masked NHWC": masked_nhwc,
    "compact": compact,
    "sparselab": sparselab,
}


def engines_of(setting: Setting) -> tuple[str, ...]:
    """Those that can train it, here."""
    names = ["dense", "masked", "compact"]
    if setting.network.is_image:
        names += ["dense NHWC", "masked NHWC"]
    elif setting.pattern == "unstructured" and setting.sparsity and util.find_spec("sparselab"):
        names.append("sparselab")
    return tuple(name for name in ENGINES if name in names)
