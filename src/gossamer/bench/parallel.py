"""Independent preparations side by side, a process each, before anything is measured.

Children are forked, so that they share what is imported and may be given functions that cannot be pickled; they compute with one thread,
because pools of threads do not survive a fork.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

import torch

from gossamer.errors import RuntimeFailure
from gossamer.runtime.threads import usable_cpus

T = TypeVar("T")


def side_by_side(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """The results of all jobs, in order; those of a process must be picklable. Raises what a job raised. One job runs here.

    >>> side_by_side([lambda: 1, lambda: 2])
    [1, 2]
    """
    if len(jobs) == 1 or usable_cpus() == 1 or "fork" not in multiprocessing.get_all_start_methods():
        return [job() for job in jobs]
    found: list[T] = []
    for begin in range(0, len(jobs), usable_cpus()):
        running = [_start(job) for job in jobs[begin : begin + usable_cpus()]]
        answers: list[_Answer[T]] = [_answer(source) for _, source in running]
        for process, _ in running:
            process.join()
        for answer in answers:
            if answer.error is not None:
                raise answer.error
            found += answer.results
    return found


@dataclass(frozen=True, kw_only=True)
class _Answer(Generic[T]):
    """What a job gave: one result, or why there is none."""

    results: list[T] = field(default_factory=list)
    error: Exception | None = None


def _start(job: Callable[[], T]) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    context = multiprocessing.get_context("fork")
    source, sink = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(job, sink))
    process.start()
    sink.close()
    return process, source


def _run(job: Callable[[], T], sink: Connection) -> None:
    torch.set_num_threads(1)
    try:
        sink.send(_Answer(results=[job()]))
    except Exception as error:
        try:
            sink.send(_Answer[T](error=error))
        except Exception:  # an error that cannot be pickled: its words can
            sink.send(_Answer[T](error=RuntimeFailure(f"{type(error).__name__}: {error}")))


def _answer(source: Connection) -> _Answer[T]:
    try:
        answer: _Answer[T] = source.recv()
    except EOFError:
        words = "a process that prepares a network ended early: expected memory for all of them at once"
        return _Answer(error=RuntimeFailure(words))
    return answer
