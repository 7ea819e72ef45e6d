"""One run of the study as a record: everything that its outcome depends on, and the key that its result is stored under.

Numbers of a method's settings that mean a moment are fractions of the run, so that one setting serves runs of every length.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from benchmarks.study.contenders import CONTENDERS

VERSION = 1
"""Raised when the study's code changes what a run of the same settings does; results of other versions are not used."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What all methods share. Weights are float32; the forward and backward pass run under bfloat16 autocast, channels last."""

    batch_size: int = 128
    lr: float = 0.2
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4  # on weights of two dimensions and more
    rate: str = "cosine"  # over the whole run, whatever its length; anew in stages that restart it
    warmup: float = 0.1
    flip: bool = True
    crop: int = 0
    precision: str = "bf16"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A method at a sparsity, with a seed. `settings` are all that the method has (benchmarks/study/contenders.py).

    budget: dense epochs that the run may cost (benchmarks/study/cost.py); epochs: a length instead of a budget, at whatever cost.
    data: a data source of Fashion-MNIST; images: training images (None: all of the source). test: what accuracy is measured on,
    "test" images, or "validation" (training images of the full set that no run trains on).
    """

    method: str
    sparsity: float | None = None
    pattern: str = "unstructured"
    seed: int = 0
    settings: Mapping[str, float | int | str] = field(default_factory=dict)
    budget: float | None = None
    epochs: float | None = None
    data: str = "embedded"
    images: int | None = None
    test: str = "test"
    test_images: int | None = None
    loop: Loop = field(default_factory=Loop)

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.epochs is None):
            raise ValueError(
                f"{self.method}: expected either a budget or epochs, got {self.budget} and {self.epochs}"
            )

    @property
    def key(self) -> str:
        """A hash of all settings.

        >>> Run(method="static", sparsity=0.9, budget=2.0).key == Run(method="static", sparsity=0.9, budget=2.0, seed=0).key
        True
        >>> Run(method="static", sparsity=0.9, budget=2.0).key == Run(method="static", sparsity=0.9, budget=2.5).key
        False
        """
        text = json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """For people: method, sparsity, pattern and seed, and what else is not as usual.

        >>> Run(method="static", sparsity=0.9, pattern="block:4x1", budget=2.0, seed=3, loop=Loop(lr=0.1)).name
        'static/90%/block:4x1/lr=0.1/seed3'
        """
        parts = [self.method]
        if self.sparsity is not None:
            parts.append(f"{100 * self.sparsity:g}%")
        if self.pattern != "unstructured":
            parts.append(self.pattern)
        usual = CONTENDERS[self.method].settings
        changed = {name: value for name, value in self.settings.items() if value != usual.get(name)}
        parts += ["sieve"] if changed.get("sieve") else [f"{name}={value}" for name, value in changed.items()]
        if self.loop.lr != Loop().lr:
            parts.append(f"lr={self.loop.lr:g}")
        if self.epochs is not None:
            parts.append(f"{self.epochs:g}epochs")
        if self.data != "embedded":
            parts.append(self.data)
        if self.test != "test":
            parts.append(self.test)
        return "/".join([*parts, f"seed{self.seed}"])


def from_dict(values: Mapping[str, object]) -> Run:
    """What `dataclasses.asdict` made of a run."""
    fields = dict(values)
    loop = fields.pop("loop")
    assert isinstance(loop, dict)
    return Run(**fields, loop=Loop(**loop))  # type: ignore[arg-type]
