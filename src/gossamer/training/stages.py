"""Stages: a training run in parts, each of which may begin with a fresh optimizer and a fresh learning rate.

Stage i begins after as many optimizer steps as the stages before it are long, right after the edits of that step. The last stage goes on
for as long as training does. The engine restarts the optimizer's state; a learning rate is the loop's own, so the engine only tells
where it is (`Sparsifier.stage`), and recipes restart it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from gossamer.errors import MethodError

RESTARTS = frozenset({"optimizer", "rate"})
"""What a stage may begin anew: the optimizer's state, the learning rate."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of a run. `restart` is what begins anew with it; nothing does before the first step, where everything is new anyway.

    >>> Stage(name="fine-tune", steps=100, restart=frozenset({"momentum"}))
    Traceback (most recent call last):
    gossamer.errors.MethodError: Stage: expected restart to name optimizer, rate or neither, got momentum
    """

    name: str
    steps: int  # optimizer steps; of the last stage: as planned, it goes on until training ends
    restart: frozenset[str] = RESTARTS

    def __post_init__(self) -> None:
        if not self.restart <= RESTARTS:
            unknown = ", ".join(sorted(self.restart - RESTARTS))
            raise MethodError(f"Stage: expected restart to name optimizer, rate or neither, got {unknown}")
        if self.steps < 0:
            raise MethodError(f"Stage: expected a length of at least 0 steps, got {self.steps}")


@dataclass(frozen=True, kw_only=True)
class StagePosition:
    """Where a run is. At a boundary it is at step 0 of the stage that begins."""

    index: int  # from 0
    num_stages: int
    name: str
    step: int  # optimizer steps done in this stage
    steps: int  # its length

    def __str__(self) -> str:
        return f"stage {self.index + 1}/{self.num_stages} {self.name}"


def beginnings(stages: Iterable[Stage]) -> tuple[int, ...]:
    """The step after which each stage begins.

    >>> beginnings([Stage(name="a", steps=10), Stage(name="b", steps=5), Stage(name="c", steps=20)])
    (0, 10, 15)
    """
    return tuple(accumulate((stage.steps for stage in stages), initial=0))[:-1]


def position_at(stages: Sequence[Stage], step: int) -> StagePosition | None:
    """The stage that update number `step` (from 0) belongs to; None for a run without stages. A stage of no length is passed over.

    >>> stages = [Stage(name="a", steps=10), Stage(name="b", steps=5)]
    >>> [str(position_at(stages, step)) for step in (0, 9, 10)]
    ['stage 1/2 a', 'stage 1/2 a', 'stage 2/2 b']
    >>> position_at(stages, 99)  # behind the end: the last stage goes on
    StagePosition(index=1, num_stages=2, name='b', step=89, steps=5)
    >>> position_at([], 3) is None
    True
    """
    if not stages:
        return None
    begins = beginnings(stages)
    index = max(index for index, begin in enumerate(begins) if begin <= step)
    return StagePosition(
        index=index,
        num_stages=len(stages),
        name=stages[index].name,
        step=step - begins[index],
        steps=stages[index].steps,
    )


def restarts_at(stages: Sequence[Stage], step: int, what: str) -> bool:
    """Whether a stage that restarts `what` ("optimizer" or "rate") begins after this many steps. Never at step 0.

    >>> stages = [Stage(name="a", steps=10), Stage(name="b", steps=5, restart=frozenset({"rate"}))]
    >>> [restarts_at(stages, step, "rate") for step in (0, 9, 10)], restarts_at(stages, 10, "optimizer")
    ([False, False, True], False)
    """
    return step > 0 and any(
        begin == step and what in stage.restart
        for begin, stage in zip(beginnings(stages), stages, strict=True)
    )


def rate_span(stages: Sequence[Stage], step: float, num_steps: int) -> tuple[int, int]:
    """The updates that share one learning-rate curve with update number `step` (from 0) of `num_steps`: first, and how many.

    >>> stages = [Stage(name="a", steps=10), Stage(name="b", steps=5), Stage(name="c", steps=0)]
    >>> [rate_span(stages, step, 40) for step in (0, 9, 10, 15, 39)], rate_span([], 7, 40)
    ([(0, 10), (0, 10), (10, 5), (15, 25), (15, 25)], (0, 40))
    """
    cuts = [
        begin
        for begin, stage in zip(beginnings(stages), stages, strict=True)
        if 0 < begin < num_steps and "rate" in stage.restart
    ]
    edges = [0, *cuts, num_steps]
    begin = max(edge for edge in edges[:-1] if edge <= step)
    return begin, min(edge for edge in edges[1:] if edge > begin) - begin
