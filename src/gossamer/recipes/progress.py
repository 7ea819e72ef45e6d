"""What a run tells those who watch it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gossamer.errors import GossamerError
from gossamer.training.stages import StagePosition


class Interrupted(GossamerError):
    """The run was asked to stop; its state is saved."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the run is. seconds_left: estimated from this sitting's pace. accuracy: the last one measured on the test split.
    stage: of a method that has stages."""

    step: int
    num_steps: int
    epoch: int
    epochs: int
    loss: float
    density: float
    accuracy: float | None
    seconds_left: float
    stage: StagePosition | None = None


class Watcher(Protocol):
    """Who is told how the run goes."""

    def say(self, line: str) -> None:
        """A line of text."""
        ...

    def step(self, progress: Progress) -> None:
        """After every step."""
        ...

    def epoch(self, progress: Progress) -> None:
        """After every epoch."""
        ...


class Silent:
    """Nobody is told."""

    def say(self, line: str) -> None: ...

    def step(self, progress: Progress) -> None: ...

    def epoch(self, progress: Progress) -> None: ...
