"""What a recipe can say: frozen dataclasses; the YAML file has the same names.

Units: `epochs` and `images` are counts, learning rates are plain numbers, `warmup` is a fraction of all steps. Where a method's
field counts optimizer steps, a recipe may also write `60%` (of all steps) or `3 epochs`: converted once, in `validate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gossamer.tasks.images import Augment
from gossamer.training import Protection
from gossamer.training.sieve import Sieving


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """SGD with momentum, or AdamW. Weight decay acts on weights of at least two dimensions, never on biases and norms."""

    kind: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.2
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        _expect(self.lr > 0, "lr", "a number above 0", self.lr)
        _expect(0 <= self.momentum < 1, "momentum", "0 <= momentum < 1", self.momentum)
        _expect(all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers 0 <= beta < 1", self.betas)
        _expect(self.weight_decay >= 0, "weight_decay", "a number of at least 0", self.weight_decay)
        _expect(
            not self.nesterov or self.kind != "sgd" or self.momentum > 0,
            "nesterov",
            "momentum above 0 with it",
            0.0,
        )


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Learning rate over the run: linear warmup over the fraction `warmup`, then the shape.

    cosine: half a cosine down to 0. one_cycle: up to the peak and down again, both as half cosines, warmup is the way up.
    constant: stays at the peak.
    """

    kind: Literal["cosine", "one_cycle", "constant"] = "cosine"
    warmup: float = 0.1

    def __post_init__(self) -> None:
        _expect(0 <= self.warmup < 1, "warmup", "a fraction 0 <= warmup < 1 of all steps", self.warmup)


@dataclass(frozen=True, kw_only=True)
class Training:
    """The loop. `images`: training images an epoch (all where absent); incomplete last batches are left out.

    precision: bf16 computes in bfloat16 under autocast, weights stay float32. clip_norm: largest norm of all gradients together.
    eval_every: epochs between measurements on the test split (the last epoch is always measured; nothing is chosen by them).
    storage: masked keeps dense weights beside masks; compact keeps, computes and optimizes the kept weights alone, on the CPU.
    sieve: removes examples that are never forgotten after its `at_epoch`; the epochs from there on have fewer steps.
    """

    epochs: int
    batch_size: int = 128
    images: int | None = None
    test_images: int | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    rate: Rate = field(default_factory=Rate)
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True
    storage: Literal["masked", "compact"] = "masked"
    augment: Augment = field(default_factory=Augment)
    eval_every: int = 1
    sieve: Sieving | None = None

    def __post_init__(self) -> None:
        _expect(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _expect(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        _expect(
            self.images is None or self.images >= 1, "images", "at least 1, or nothing for all", self.images
        )
        _expect(
            self.test_images is None or self.test_images >= 1,
            "test_images",
            "at least 1, or nothing for all",
            self.test_images,
        )
        _expect(0 <= self.label_smoothing < 1, "label_smoothing", "0 <= x < 1", self.label_smoothing)
        _expect(self.clip_norm is None or self.clip_norm > 0, "clip_norm", "a number above 0", self.clip_norm)
        _expect(self.eval_every >= 1, "eval_every", "at least 1", self.eval_every)
        _expect(
            self.sieve is None or self.sieve.at_epoch < self.epochs,
            "sieve",
            f"at_epoch below the {self.epochs} epochs of the run",
            None if self.sieve is None else self.sieve.at_epoch,
        )


@dataclass(frozen=True, kw_only=True)
class MethodChoice:
    """Name of a method (`dense` for none) and its settings: the fields of that method's own dataclass."""

    name: str
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How `gossamer pack` stores the result: values as float16 or float32."""

    dtype: Literal["float16", "float32"] = "float16"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run. `model` is a name of the task, or `package.module:callable`; `threads` absent: all cores.

    workers: processes of a method that trains in several (gap with order parallel), which share the threads; absent: 2. 1: in turn.
    """

    name: str
    task: str
    model: str
    method: MethodChoice
    train: Training
    description: str = ""
    data: str = "embedded"
    seed: int = 0
    threads: int | None = None
    workers: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    protect: Protection = field(default_factory=Protection)
    pack: Packing = field(default_factory=Packing)
    quick: bool = False

    def __post_init__(self) -> None:
        _expect(0 <= self.seed < 2**63, "seed", "0 <= seed < 2^63", self.seed)
        _expect(
            self.threads is None or self.threads >= 1,
            "threads",
            "at least 1, or nothing for all",
            self.threads,
        )
        _expect(
            self.workers is None or self.workers >= 1, "workers", "at least 1, or nothing for 2", self.workers
        )
        _expect(
            bool(self.name) and not set(self.name) & set("/\\\0 ") and not self.name.startswith("."),
            "name",
            "letters, digits, - and _ (it names the run's folder)",
            self.name,
        )


def _expect(holds: bool, name: str, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"{name}: expected {expected}, got {got!r}")
