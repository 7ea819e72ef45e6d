"""Workers: where turns are carried out. One interface, `run`, whatever is behind it; a turn that is lost is tried again.

Results come back in the order of the jobs, whichever finishes first, so nothing depends on the kind of workers or on their pace.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gossamer.errors import EngineError
from gossamer.training.parallel.turn import Job, Result, carry_out

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A result, and what was lost on the way to it (one text a failed attempt)."""

    result: Result
    lost: tuple[str, ...] = ()


class Workers(Protocol):
    """A place where turns are carried out."""

    def run(self, jobs: Sequence[Job], *, retries: int) -> list[Outcome]:
        """The outcome of every job, in their order. A job that fails is tried again up to `retries` times; then EngineError."""
        ...

    def agree(self, make: Callable[[], T]) -> T:
        """What the first process of several makes (or reads, or writes); a single one just makes it. If it raises, all of them do."""
        ...


@dataclass(frozen=True)
class InTurn:
    """One after the other, in this process: the slow reference, and the way to debug a training function."""

    def run(self, jobs: Sequence[Job], *, retries: int) -> list[Outcome]:
        return [attempt(job, retries=retries) for job in jobs]

    def agree(self, make: Callable[[], T]) -> T:
        return make()


def attempt(job: Job, *, retries: int) -> Outcome:
    """Carries out a job in this process, with retries."""
    lost: list[str] = []
    while True:
        try:
            return Outcome(result=carry_out(job), lost=tuple(lost))
        except Exception as error:
            lost.append(traceback.format_exc())
            if len(lost) > retries:
                raise given_up(job, lost) from error


def given_up(job: Job, lost: Sequence[str]) -> EngineError:
    """The error of a job that failed too often."""
    what = "fine-tuning" if job.partition is None else f"the worker of partition {job.partition}"
    return EngineError(
        f"round {job.round}: {what} was lost {len(lost)} times (retries={len(lost) - 1}); the last time:\n{lost[-1].strip()}"
    )
