"""One run of the study, from its record to its outcome: how long it is, training, test.

The model after the last step is the result; nothing is selected. One thread computes, so that a run is a function of its record.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import torch
from torch import nn

from benchmarks.study import cost
from benchmarks.study.contenders import method_of
from benchmarks.study.domain import Data
from benchmarks.study.loop import DOMAINS, batches, optimizer_of, tested, train_step
from benchmarks.study.runs import Run
from gossamer.recipes.rates import factor_at, staged_factor_at
from gossamer.recipes.schema import Rate
from gossamer.training import Sparsifier
from gossamer.training.cost import CostMeter, CostReport
from gossamer.training.methods import GaP, Method
from gossamer.training.parallel import InTurn, Turn, grow_in_parallel
from gossamer.training.sieve import Sieve, Sieving


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long a run is, in steps of all workers together, and what the schedule says that it costs."""

    num_steps: int
    steps_per_epoch: int
    method: Method | None
    dense_epochs: float
    dense_epoch_macs: int
    uses: cost.Uses

    @property
    def epochs(self) -> float:
        return self.num_steps / self.steps_per_epoch


_LENGTHS: dict[str, Length] = {}


def length_of(run: Run) -> Length:
    """The number of steps that uses the run's budget up, from the method's schedule and the layers' MACs; the same for all seeds."""
    key = replace(run, seed=0).key
    if key not in _LENGTHS:
        _LENGTHS[key] = _length_of(run)
    return _LENGTHS[key]


def _length_of(run: Run) -> Length:
    domain = DOMAINS[run.data]
    model = domain.model()
    shapes = cost.shapes_of(model, run.pattern, domain.protect)
    uses = cost.uses_of(model, domain.input_shape)
    steps_per_epoch = domain.num_train(run) // run.loop.batch_size
    dense_epoch = cost.step_macs(uses, {}) * run.loop.batch_size * steps_per_epoch

    def method(num_steps: int) -> Method | None:
        return method_of(run.method, run.settings, run.sparsity, run.pattern, num_steps)

    def dense_epochs(num_steps: int) -> float:
        parts = cost.segments(method(num_steps), shapes, num_steps)
        return cost.macs(uses, parts, run.loop.batch_size) / dense_epoch

    if run.budget is not None:
        num_steps = cost.longest(dense_epochs, run.budget)
    else:
        assert run.epochs is not None
        num_steps = round(run.epochs * steps_per_epoch)
    return Length(
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        method=method(num_steps),
        dense_epochs=dense_epochs(num_steps),
        dense_epoch_macs=dense_epoch,
        uses=uses,
    )


def train(run: Run) -> dict[str, Any]:
    """Train and test on one thread; the outcome as plain numbers."""
    torch.set_num_threads(1)
    begun, domain, length = time.monotonic(), DOMAINS[run.data], length_of(run)
    data = domain.load(run)
    torch.manual_seed(run.seed)
    model = domain.model()
    if isinstance(length.method, GaP) and length.method.order == "parallel":
        trained = _in_parallel(model, length.method, run, length, data)
    else:
        trained = _alone(model, run, length, data)
    outcome = {
        "num_steps": length.num_steps,
        "epochs": length.epochs,
        "dense_epochs_planned": length.dense_epochs,
        **_spent(trained["reports"], length),
        "train_loss": fmean(trained["losses"][-length.steps_per_epoch :]),
        "final_sparsity": trained["sparsity"],
        "removed": trained["removed"],
        **tested(model, data),
        "source": data.source,
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 1),
    }
    if not math.isfinite(outcome["test_loss"]):
        raise ValueError(f"{run.name}: training diverged, the loss is {outcome['test_loss']}")
    return outcome


def _alone(model: nn.Module, run: Run, length: Length, data: Data) -> dict[str, Any]:
    """A run of one model."""
    optimizer = optimizer_of(model, run)
    sparsifier = None
    if length.method is not None:
        sparsifier = Sparsifier(
            model, length.method, optimizer, seed=run.seed, protect=DOMAINS[run.data].protect
        )
    stages = () if sparsifier is None else sparsifier.stages
    meter, sieve, losses = CostMeter(length.uses, sparsifier), _sieve(run, length, data), []
    for step, epoch, indices in batches(
        data.num_train, length.num_steps, run.loop.batch_size, run.seed, sieve
    ):
        factor = staged_factor_at(_rate(run), stages, step, length.num_steps)
        inputs, labels = data.train_batch(indices, run.seed, epoch)
        loss, right = train_step(model, optimizer, run, inputs, labels, factor)
        meter.step(len(indices))
        losses.append(loss)
        if sieve is not None:
            sieve.observe(torch.from_numpy(indices), right)
    return {
        "losses": losses,
        "reports": [meter.report()],
        "sparsity": 0.0 if sparsifier is None else sparsifier.finalize().summary.sparsity,
        "removed": 0.0 if sieve is None or sieve.report is None else sieve.report.fraction,
    }


@dataclass(frozen=True, kw_only=True)
class _TurnTrainer:
    """Trains one worker of P-GaP; each has an order of the images of its own, and its own learning-rate curve."""

    run: Run
    data: Data
    uses: cost.Uses
    reports: list[CostReport] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __call__(self, model: nn.Module, turn: Turn) -> None:
        run, seed = self.run, turn.seed % 2**31
        optimizer = optimizer_of(model, run)
        meter = CostMeter(self.uses, turn.attach(model, optimizer))
        for step, epoch, indices in batches(self.data.num_train, turn.steps, run.loop.batch_size, seed):
            factor = factor_at(_rate(run), step, turn.steps)
            inputs, labels = self.data.train_batch(indices, seed, epoch)
            loss, _ = train_step(model, optimizer, run, inputs, labels, factor)
            meter.step(len(indices))
            self.losses.append(loss)
        self.reports.append(meter.report())


def _in_parallel(model: nn.Module, method: GaP, run: Run, length: Length, data: Data) -> dict[str, Any]:
    """A run of several workers, one after the other in this process: their results do not depend on where they run."""
    trainer = _TurnTrainer(run=run, data=data, uses=length.uses)
    grown = grow_in_parallel(
        model,
        method,
        train=trainer,
        workers=InTurn(),
        seed=run.seed,
        protect=DOMAINS[run.data].protect,
        retries=0,
    )
    return {
        "losses": trainer.losses,
        "reports": trainer.reports,
        "sparsity": grown.report.sparsity,
        "removed": 0.0,
    }


def _rate(run: Run) -> Rate:
    return Rate(kind=run.loop.rate, warmup=run.loop.warmup)  # type: ignore[arg-type]


def _sieve(run: Run, length: Length, data: Data) -> Sieve | None:
    """Removal after the fraction `sieve_at` of the epochs, where the run has a sieve."""
    if not run.settings.get("sieve"):
        return None
    at_epoch = max(1, round(float(run.settings["sieve_at"]) * length.epochs))
    most = float(run.settings["sieve_most"])
    settings = Sieving(at_epoch=at_epoch, max_fraction=most, min_presentations=min(3, at_epoch))
    return Sieve(settings, num_examples=data.num_train, seed=run.seed)


def _spent(reports: Sequence[CostReport], length: Length) -> dict[str, Any]:
    """What the run cost, all workers together, by the masks that it really had; the peak is that of one worker."""
    spent = sum(report.macs for report in reports)
    return {
        "examples": sum(report.examples for report in reports),
        "macs": spent,
        "dense_epochs": spent / length.dense_epoch_macs,
        "peak_density": max(
            sum(point.num_kept) / sum(report.sizes) for report in reports for point in report.trace
        ),
    }
