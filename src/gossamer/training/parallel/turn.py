"""A turn: what one worker does. It gets the all-sparse model, opens its own partition, trains, and sends weights and masks back.

The user's function `train(model, turn)` makes a new optimizer, attaches it (`turn.attach(model, optimizer)`), and takes `turn.steps` steps.
It is called in another process, so it is defined at the top level of a module, and what it needs beside its arguments it makes itself.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.errors import EngineError
from gossamer.training import ranks
from gossamer.training.edits import Edit
from gossamer.training.engine import Sparsifier
from gossamer.training.layers import unwrap
from gossamer.training.methods.gap import GaP
from gossamer.training.protection import Protection


@dataclass(frozen=True, kw_only=True)
class Act:
    """Some edits of a GaP before the first step, and fixed masks from there on: the method of one turn."""

    gap: GaP
    edits: tuple[Edit, ...]
    initial: str  # "given", or how the first masks come about

    @property
    def sparsity(self) -> float | None:
        return self.gap.sparsity

    @property
    def pattern(self) -> str:
        return self.gap.pattern

    @property
    def allocation(self) -> str:
        return self.gap.allocation

    @property
    def criterion(self) -> str:
        return self.gap.criterion

    @property
    def last_edit(self) -> int:
        return 0

    @property
    def grows(self) -> bool:
        return any(edit.grow_to is not None for edit in self.edits)

    def edit_steps(self) -> tuple[int, ...]:
        return (0,)

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        return self.edits if step == 0 else ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that a worker needs, to be sent there. `partition` None: fine-tuning under fixed masks."""

    model: nn.Module
    masks: Mapping[str, Tensor]
    method: GaP
    partition: int | None
    round: int
    steps: int
    first_step: int
    seed: int
    threads: int
    protect: Protection | None
    layers: Sequence[str] | None
    train: "Train"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What comes back. `state`: all tensors of the model, on the CPU. `steps`, `seconds`: of training. `peak_kept`: of the network."""

    state: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    steps: int
    seconds: float
    peak_kept: int


class Turn:
    """What the user's function is told, and `attach`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.sparsifier: Sparsifier | None = None

    @property
    def round(self) -> int:
        """From 0; of the fine-tuning: the number of rounds."""
        return self._job.round

    @property
    def partition(self) -> int | None:
        """The partition that is dense; None while fine-tuning."""
        return self._job.partition

    @property
    def steps(self) -> int:
        """Optimizer steps to take."""
        return self._job.steps

    @property
    def first_step(self) -> int:
        """Steps that every worker has taken before this turn: where the data order goes on."""
        return self._job.first_step

    @property
    def seed(self) -> int:
        """Of this turn, from the run's seed, the round and the partition. torch's generator has been seeded with it."""
        return self._job.seed

    def attach(self, model: nn.Module, optimizer: Optimizer, **settings: Any) -> Sparsifier:
        """Opens the partition and follows `optimizer`, which must be a new one. `settings` are those of Sparsifier (ema, adam_counts)."""
        if self.sparsifier is not None:
            raise EngineError("turn.attach: expected one call a turn, got a second one")
        job = self._job
        edits = () if job.partition is None else (job.method.growth(job.partition),)
        self.sparsifier = Sparsifier(
            model,
            Act(gap=job.method, edits=edits, initial="given"),
            optimizer,
            seed=job.seed,
            protect=job.protect,
            layers=job.layers,
            masks=job.masks,
            **settings,
        )
        return self.sparsifier


Train = Callable[[nn.Module, Turn], object]


def carry_out(job: Job) -> Result:
    """Runs one turn in this process, on a copy of the model. torch's random state and number of threads are as before afterwards."""
    threads = torch.get_num_threads()
    model = copy.deepcopy(unwrap(job.model))
    turn = Turn(job)
    torch.set_num_threads(job.threads)
    try:
        with torch.random.fork_rng(), ranks.alone():
            torch.manual_seed(job.seed)
            begun = time.monotonic()
            job.train(model, turn)
            seconds = time.monotonic() - begun
            sparsifier = turn.sparsifier
            if sparsifier is None:
                raise EngineError(
                    f"{_name(job.train)}(model, turn): expected it to call turn.attach(model, optimizer) before its first step, got no call"
                )
            if job.steps and not sparsifier.step:
                raise EngineError(
                    f"{_name(job.train)}(model, turn): expected {job.steps} optimizer steps (turn.steps), got none"
                )
            summary = sparsifier.finalize().summary
    finally:
        torch.set_num_threads(threads)
    return Result(
        state={name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()},
        masks={name: mask.cpu() for name, mask in sparsifier.masks.items()},
        steps=sparsifier.step,
        seconds=seconds,
        peak_kept=summary.peak_kept,
    )


def _name(train: Train) -> str:
    return getattr(train, "__name__", type(train).__name__)
