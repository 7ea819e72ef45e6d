"""Workers as ranks of `torch.distributed`: rank r carries out the turns r, r + W, …, and sends their results to all.

Every rank calls `grow_in_parallel` with the same arguments, begins with the weights of rank 0, and ends with the same model. Within a
turn a rank is alone: its training function must not communicate. Ranks wait for the slowest one, and for the one that does the
fine-tuning, as long as it takes: they have a group of their own (gloo), with a timeout of its own, so that of the default group does not
count. A turn that raises is tried again where it was; a rank that dies ends the job at once, and it goes on from the last round's
checkpoint when started again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch.distributed as dist

from gossamer.errors import EngineError
from gossamer.training.parallel.turn import Job
from gossamer.training.parallel.workers import Outcome, attempt

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The ranks of the default process group, which must have been initialised. Every rank makes this object.

    `timeout`: how long a rank waits for another one's turn.
    """

    timeout: timedelta = timedelta(days=100)
    _group: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise EngineError(
                "Ranks: expected an initialised process group, got none; call torch.distributed.init_process_group first, or use "
                "LocalProcesses"
            )
        object.__setattr__(self, "_group", dist.new_group(backend="gloo", timeout=self.timeout))

    def run(self, jobs: Sequence[Job], *, retries: int) -> list[Outcome]:
        mine: dict[int, Outcome | EngineError] = {}
        for index, job in enumerate(jobs):
            if self._owner(index) == dist.get_rank():
                try:
                    mine[index] = attempt(job, retries=retries)
                except EngineError as error:
                    mine[index] = error
        outcomes = []
        for index in range(len(jobs)):
            outcome = self._sent(mine.get(index), source=self._owner(index))
            if not isinstance(outcome, Outcome):
                raise EngineError(f"rank {self._owner(index)}: {outcome}")
            outcomes.append(outcome)
        return outcomes

    def agree(self, make: Callable[[], T]) -> T:
        made: tuple[T | None, str | None] = None, None
        failure: Exception | None = None
        if dist.get_rank() == 0:
            try:
                made = make(), None
            except Exception as error:  # raised again below, when the others have been told
                failure = error
                made = None, f"rank 0: {error}"
        value, told = self._sent(made, source=0)
        if failure is not None:
            raise failure
        if told is not None:
            raise EngineError(told)
        return cast(T, value)

    def _owner(self, index: int) -> int:
        return index % dist.get_world_size()

    def _sent(self, value: Any, *, source: int) -> Any:
        """`value` of rank `source`, on every rank."""
        box = [value]
        dist.broadcast_object_list(box, src=source, group=self._group)
        return box[0]
