"""Workers as Ray tasks, on as many machines as the cluster has. A task that is lost (a worker, a node, an exception) is submitted again.

Ray is started as `ray.init()` does where it does not run yet. Workers need the same versions of torch and Gossamer as this process.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gossamer.errors import EngineError, MissingExtraError
from gossamer.training.parallel.turn import Job, carry_out
from gossamer.training.parallel.workers import Outcome, given_up

T = TypeVar("T")


@dataclass(frozen=True)
class RayTasks:
    """`num_cpus` and `num_gpus` are what Ray reserves for a turn."""

    num_cpus: float = 1
    num_gpus: float = 0

    def __post_init__(self) -> None:
        _ray()

    def run(self, jobs: Sequence[Job], *, retries: int) -> list[Outcome]:
        ray = _ray()
        if not ray.is_initialized():
            ray.init()
        task = ray.remote(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=0)(_carry_out)
        try:
            payloads = [ray.put(ray.cloudpickle.dumps(job)) for job in jobs]
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise EngineError(
                f"a turn is carried out elsewhere, and cannot be sent there ({error}): expected a model and a training function that pickle"
            ) from None
        lost: list[list[str]] = [[] for _ in jobs]
        outcomes: dict[int, Outcome] = {}
        running = {task.remote(payload): index for index, payload in enumerate(payloads)}
        try:
            while running:
                (ready, *_), _ = ray.wait(list(running), num_returns=1)
                index = running.pop(ready)
                try:
                    result = ray.cloudpickle.loads(ray.get(ready))
                except ray.exceptions.RayError as error:
                    lost[index].append(str(error))
                    if len(lost[index]) > retries:
                        raise given_up(jobs[index], lost[index]) from None
                    running[task.remote(payloads[index])] = index
                else:
                    outcomes[index] = Outcome(result=result, lost=tuple(lost[index]))
        finally:
            for other in running:  # given up, or Ctrl-C: they would train on for nobody
                ray.cancel(other, force=True)
        return [outcomes[index] for index in range(len(jobs))]

    def agree(self, make: Callable[[], T]) -> T:
        return make()


def _carry_out(payload: bytes) -> bytes:
    cloudpickle = _ray().cloudpickle
    result: bytes = cloudpickle.dumps(carry_out(cloudpickle.loads(payload)))
    return result


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingExtraError(
            "RayTasks needs ray, which is not installed: pip install 'gossamer[ray]'; or use LocalProcesses"
        ) from None
    return ray
