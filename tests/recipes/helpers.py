"""A run that takes a second: a small MLP recipe, and a watcher that keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from gossamer.recipes import document, validate
from gossamer.recipes.progress import Progress
from gossamer.recipes.validate import Plan

RECIPE = """\
name: small
task: fashion-mnist
model: mlp
seed: 3
threads: 1
method:
  name: gradual
  sparsity: 0.9
  stop: 60%
  every: 2
protect: {first: false}
train:
  epochs: 3
  batch_size: 32
  images: 256
  test_images: 100
  channels_last: false
  optimizer: {kind: adamw, lr: 0.002, weight_decay: 0.01}
  clip_norm: 1.0
"""


def plan(*overrides: str, text: str = RECIPE, quick: bool = False) -> Plan:
    """The plan of the small recipe with overrides."""
    return validate.plan_of(
        document.with_overrides(document.parse(text, name="small.yaml"), overrides), quick=quick
    )


@dataclass
class Notes:
    """A watcher for tests."""

    lines: list[str] = field(default_factory=list)
    steps: list[Progress] = field(default_factory=list)
    epochs: list[Progress] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def step(self, progress: Progress) -> None:
        self.steps.append(progress)

    def epoch(self, progress: Progress) -> None:
        self.epochs.append(progress)


def never() -> bool:
    """Nobody asks to stop."""
    return False
