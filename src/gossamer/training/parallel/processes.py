"""Workers as processes of this machine. Every turn has a process of its own, started fresh: one that dies takes nothing with it.

A worker may start processes itself (a DataLoader with workers), which end with it.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

from gossamer.errors import EngineError
from gossamer.sparsity.patterns.pattern import is_whole
from gossamer.training.parallel.turn import Job, carry_out
from gossamer.training.parallel.workers import Outcome, given_up

T = TypeVar("T")
LOOK_EVERY = 0.25
"""Seconds between two calls of `while_waiting`."""
ENDS_WITHIN = 10.0
"""Seconds in which a worker that has sent its result must end: threads that the training function left behind would keep it."""


@dataclass(frozen=True)
class LocalProcesses:
    """At most `count` turns at once. `while_waiting` is called a few times a second; if it raises, all processes are ended."""

    count: int
    while_waiting: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.count) or self.count < 1:
            raise EngineError(f"LocalProcesses: expected at least 1 process, got {self.count!r}")

    def run(self, jobs: Sequence[Job], *, retries: int) -> list[Outcome]:
        waiting = list(range(len(jobs)))
        running: dict[Connection, tuple[int, BaseProcess]] = {}
        lost: list[list[str]] = [[] for _ in jobs]
        outcomes: dict[int, Outcome] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.count:
                    index = waiting.pop(0)
                    connection, process = _start(jobs[index])
                    running[connection] = index, process
                if self.while_waiting is not None:
                    self.while_waiting()
                for ready in wait(list(running), None if self.while_waiting is None else LOOK_EVERY):
                    assert isinstance(ready, Connection)
                    index, process = running.pop(ready)
                    answer = _received(ready, process)
                    if isinstance(answer, str):
                        lost[index].append(answer)
                        if len(lost[index]) > retries:
                            raise given_up(jobs[index], lost[index])
                        waiting.insert(0, index)
                    else:
                        outcomes[index] = Outcome(result=pickle.loads(answer), lost=tuple(lost[index]))
        finally:
            for connection, (_, process) in running.items():
                process.kill()
                process.join()
                connection.close()
        return [outcomes[index] for index in range(len(jobs))]

    def agree(self, make: Callable[[], T]) -> T:
        return make()


def _pickled(job: Job) -> bytes:
    try:
        return pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise EngineError(
            f"a turn is carried out in another process, and cannot be sent there ({error}): expected a model that pickles, and a training "
            "function defined at the top level of a module"
        ) from None


def _start(job: Job) -> tuple[Connection, BaseProcess]:
    context, payload = multiprocessing.get_context("spawn"), _pickled(job)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, payload))  # no daemon, which may not have children
    process.start()
    there.close()  # so that the death of the child ends the pipe
    return here, process


def _received(connection: Connection, process: BaseProcess) -> bytes | str:
    """The pickled result, or in words how the worker was lost."""
    try:
        answer = connection.recv_bytes()
    except (EOFError, OSError):
        answer = b""
    process.join(ENDS_WITHIN)
    process.kill()
    process.join()
    connection.close()
    if answer[:1] == b"r":
        return answer[1:]
    if answer[:1] == b"e":
        return answer[1:].decode()
    return f"the process ended without a result (exit code {process.exitcode})"


def _child(connection: Connection, payload: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer = b"r" + pickle.dumps(carry_out(pickle.loads(payload)))
    except Exception:
        answer = b"e" + traceback.format_exc().encode()
    connection.send_bytes(answer)


def _end_with_parent() -> None:
    """A parent that was killed cannot stop its children: they would train on for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
