"""What a run will be like, told before it starts: its stages, and how many weights it keeps at most."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter

from torch import nn

from gossamer.training.edits import Shapes
from gossamer.training.engine import Sparsifier
from gossamer.training.foresight import kept_over_time
from gossamer.training.methods import GaP, Method
from gossamer.training.methods.method import stages_of
from gossamer.training.parallel.foresight import kept_in_turns, starting
from gossamer.training.protection import Protection
from gossamer.training.reports import Summary
from gossamer.training.stages import beginnings


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage: the step after which it begins, its length in steps (the last one goes on to the end), and the density in it."""

    name: str
    begin: int
    steps: int
    density: float


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """`summary`: the masks before the first step. `peak_kept`: weights kept at most, dense layers included."""

    summary: Summary
    peak_kept: int
    stages: tuple[StageRow, ...]

    @property
    def peak_density(self) -> float:
        return self.peak_kept / self.summary.size


def foreseen(method: Method, shapes: Shapes, summary: Summary, num_steps: int) -> Foreseen:
    """The run of `method` on a network of these shapes, for `num_steps` steps."""
    kept = kept_over_time(method, shapes)
    stages, begins = stages_of(method), beginnings(stages_of(method))
    ends = (*begins[1:], num_steps)[: len(begins)]
    rows = [
        StageRow(
            name=stage.name,
            begin=begin,
            steps=end - begin,
            density=kept[bisect_right(kept, begin, key=itemgetter(0)) - 1][1] / summary.size,
        )
        for stage, begin, end in zip(stages, begins, ends, strict=True)
    ]
    return Foreseen(summary=summary, peak_kept=max(now for _, now in kept), stages=tuple(rows))


def foreseen_in_parallel(method: GaP, model: nn.Module, *, protect: Protection, num_steps: int) -> Foreseen:
    """The run of a method with one worker a partition on this network; densities and peak are those of the worker that holds the most."""
    sparsifier = Sparsifier(model, starting(method), protect=protect)
    summary, peak = sparsifier.summary(), max(kept_in_turns(method, sparsifier.shapes))
    begins = (*beginnings(method.stages()), num_steps)
    rows = [
        StageRow(
            name=stage.name,
            begin=begin,
            steps=end - begin,
            density=(peak if number < method.rounds else summary.num_kept) / summary.size,
        )
        for number, (stage, begin, end) in enumerate(zip(method.stages(), begins, begins[1:], strict=False))
    ]
    return Foreseen(summary=summary, peak_kept=peak, stages=tuple(rows))
