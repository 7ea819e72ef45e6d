"""One run of the study, from its record to its outcome.

A run is a function of its record: order and augmentation of the images are functions of (seed, epoch, index), initial weights and
masks of the seed, and one thread computes. The model after the last step is the result; nothing is selected.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.choose_recipe import validation_images
from benchmarks.study import cost
from benchmarks.study.contenders import method_of
from benchmarks.study.runs import Run
from gossamer.recipes.rates import staged_factor_at
from gossamer.recipes.schema import Rate
from gossamer.tasks import task
from gossamer.tasks.fashion_mnist import FASHION_MNIST as TASK
from gossamer.tasks.images import Augment, ImageData, Integers, Split, epoch_order, normalized
from gossamer.training import Sparsifier
from gossamer.training.cost import CostMeter, CostReport
from gossamer.training.methods import Method
from gossamer.training.sieve import Sieve, Sieving

MODEL = "resnet20"
TEST_BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long a run is, and what the schedule says that it costs."""

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
    model = TASK.models[MODEL]()
    shapes = cost.shapes_of(model, run.pattern)
    uses = cost.uses_of(model, TASK.input_shape)
    steps_per_epoch = (run.images or TASK.data[run.data].train_images) // run.loop.batch_size
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
    begun, length, data = time.monotonic(), length_of(run), _data(run)
    torch.manual_seed(run.seed)
    model: nn.Module = TASK.models[MODEL]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(model, run)
    sparsifier = None
    if length.method is not None:
        sparsifier = Sparsifier(model, length.method, optimizer, seed=run.seed)
    stages = () if sparsifier is None else sparsifier.stages
    rate = Rate(kind=run.loop.rate, warmup=run.loop.warmup)  # type: ignore[arg-type]
    meter, sieve, losses = CostMeter(length.uses, sparsifier), _sieve(run, length, data), []
    for step, epoch, indices in batches(len(data.train), length.num_steps, run, sieve):
        for group in optimizer.param_groups:
            group["lr"] = run.loop.lr * staged_factor_at(rate, stages, step, length.num_steps)
        loss, right = _step(model, optimizer, data, indices, run, epoch)
        meter.step(len(indices))
        losses.append(loss)
        if sieve is not None:
            sieve.observe(torch.from_numpy(indices), right)
    outcome = {
        "num_steps": length.num_steps,
        "epochs": length.epochs,
        "dense_epochs_planned": length.dense_epochs,
        **_spent(meter.report(), length),
        "final_sparsity": 0.0 if sparsifier is None else sparsifier.finalize().summary.sparsity,
        "num_edits": 0 if sparsifier is None else len(sparsifier.history),
        "removed": 0.0 if sieve is None or sieve.report is None else sieve.report.fraction,
        "train_loss": fmean(losses[-length.steps_per_epoch :]),
        **_tested(model.eval(), data.test),
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 1),
    }
    if not math.isfinite(outcome["test_loss"]):
        raise ValueError(f"{run.name}: training diverged, the loss is {outcome['test_loss']}")
    return outcome


def batches(
    num_examples: int, num_steps: int, run: Run, sieve: Sieve | None = None
) -> Iterator[tuple[int, int, Integers]]:
    """(step, epoch, indices) of every batch; incomplete last batches are left out. Epochs lack what the sieve has removed."""
    step, epoch, size = 0, 0, run.loop.batch_size
    kept = np.arange(num_examples)
    while step < num_steps:
        order = kept[epoch_order(len(kept), seed=run.seed, epoch=epoch)]
        for begin in range(0, len(order) - size + 1, size):
            if step < num_steps:
                yield step, epoch, order[begin : begin + size]
                step += 1
        epoch += 1
        if sieve is not None and sieve.end_epoch() is not None:
            kept = sieve.kept.numpy()


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: ImageData,
    indices: Integers,
    run: Run,
    epoch: int,
) -> tuple[float, Tensor]:
    """One optimizer step: its loss, and which examples were right before it."""
    augment = Augment(flip=run.loop.flip, crop=run.loop.crop)
    images, labels = TASK.training_batch(data, indices, augment, seed=run.seed, epoch=epoch)
    model.train()
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=run.loop.precision == "bf16"):
        logits = model(images.to(memory_format=torch.channels_last))
    loss = task.loss(logits.float(), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.item()), logits.detach().argmax(dim=1) == labels


def _sieve(run: Run, length: Length, data: ImageData) -> Sieve | None:
    """Removal after the fraction `sieve_at` of the epochs, where the run has a sieve."""
    if not run.settings.get("sieve"):
        return None
    at_epoch = max(1, round(float(run.settings["sieve_at"]) * length.epochs))
    most = float(run.settings["sieve_most"])
    settings = Sieving(at_epoch=at_epoch, max_fraction=most, min_presentations=min(3, at_epoch))
    return Sieve(settings, num_examples=len(data.train), seed=run.seed)


def _spent(report: CostReport, length: Length) -> dict[str, Any]:
    """What the run cost by the masks that it really had."""
    return {
        "examples": report.examples,
        "macs": report.macs,
        "dense_epochs": report.macs / length.dense_epoch_macs,
        "peak_density": max(sum(point.num_kept) for point in report.trace) / sum(report.sizes),
    }


def _tested(model: nn.Module, split: Split) -> dict[str, Any]:
    """Accuracy in percent and mean loss, in float32."""
    correct, loss_sum = 0, 0.0
    with torch.inference_mode():
        for start in range(0, len(split), TEST_BATCH):
            images = normalized(split.images[start : start + TEST_BATCH], mean=TASK.mean, std=TASK.std)
            labels = torch.from_numpy(split.labels[start : start + TEST_BATCH])
            logits = model(torch.from_numpy(images).to(memory_format=torch.channels_last))
            correct += task.num_correct(logits, labels)
            loss_sum += float(task.loss(logits, labels)) * len(labels)
    return {
        "accuracy": 100 * correct / len(split),
        "test_loss": loss_sum / len(split),
        "test_images": len(split),
    }


def _data(run: Run) -> ImageData:
    """The images of the run: training images, and those that it is measured on."""
    data = TASK.data[run.data].load()
    test = data.test if run.test == "test" else validation_images()
    return ImageData(
        train=_first(data.train, run.images), test=_first(test, run.test_images), source=data.source
    )


def _first(split: Split, count: int | None) -> Split:
    """So many images (None: all), equally many of each class."""
    if count is None:
        return split
    by_class = [np.flatnonzero(split.labels == label) for label in range(len(TASK.labels))]
    chosen = np.sort(np.concatenate([indices[: count // len(by_class)] for indices in by_class]))
    return Split(images=split.images[chosen], labels=split.labels[chosen])


def _optimizer(model: nn.Module, run: Run) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": run.loop.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=run.loop.lr, momentum=run.loop.momentum, nesterov=run.loop.nesterov)
