"""One run of the study, from its record to its outcome.

A run is a function of its record: order and augmentation of the images are functions of (seed, epoch, index), initial weights and
masks of the seed, and one thread computes. The model after the last step is the result; nothing is selected.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
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
from gossamer.sparsity.costs import LayerShape
from gossamer.tasks import task
from gossamer.tasks.fashion_mnist import FASHION_MNIST as TASK
from gossamer.tasks.images import Augment, ImageData, Integers, Split, epoch_order, normalized
from gossamer.training import Sparsifier
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
    parts: list[cost.Segment]
    shapes: dict[str, LayerShape]
    dense_epochs: float
    dense_epoch_macs: int

    @property
    def epochs(self) -> float:
        return self.num_steps / self.steps_per_epoch


def length_of(run: Run) -> Length:
    """The number of steps that uses the run's budget up, from the method's schedule and the layers' MACs."""
    shapes = cost.layer_shapes(TASK.models[MODEL](), TASK.input_shape, run.pattern)
    steps_per_epoch = (run.images or TASK.data[run.data].train_images) // run.loop.batch_size
    dense_epoch = cost.step_macs(shapes, {}) * run.loop.batch_size * steps_per_epoch

    def parts(num_steps: int) -> list[cost.Segment]:
        method = method_of(run.method, run.settings, run.sparsity, run.pattern, num_steps)
        return cost.segments(method, shapes, num_steps)

    def dense_epochs(num_steps: int) -> float:
        return cost.macs(shapes, parts(num_steps), run.loop.batch_size) / dense_epoch

    if run.budget is not None:
        num_steps = cost.longest(dense_epochs, run.budget)
    else:
        assert run.epochs is not None
        num_steps = round(run.epochs * steps_per_epoch)
    return Length(
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        method=method_of(run.method, run.settings, run.sparsity, run.pattern, num_steps),
        parts=parts(num_steps),
        shapes=shapes,
        dense_epochs=dense_epochs(num_steps),
        dense_epoch_macs=dense_epoch,
    )


def train(run: Run) -> dict[str, Any]:
    """Train and test on one thread; the outcome as plain numbers."""
    torch.set_num_threads(1)
    begun, length = time.monotonic(), length_of(run)
    data = _data(run)
    torch.manual_seed(run.seed)
    model: nn.Module = TASK.models[MODEL]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(model, run)
    sparsifier = None
    if length.method is not None:
        sparsifier = Sparsifier(model, length.method, optimizer, seed=run.seed)
    rate = Rate(kind=run.loop.rate, warmup=run.loop.warmup)  # type: ignore[arg-type]
    stages = () if sparsifier is None else sparsifier.stages
    sieve = _sieve(run, length, data)
    losses = []
    for step, epoch, indices in batches(len(data.train), length.num_steps, run, sieve):
        for group in optimizer.param_groups:
            group["lr"] = run.loop.lr * staged_factor_at(rate, stages, step, length.num_steps)
        loss, right = _step(model, optimizer, data, indices, run, epoch)
        losses.append(loss)
        if sieve is not None:
            sieve.observe(torch.from_numpy(indices), right)
    outcome = {
        "num_steps": length.num_steps,
        "epochs": length.epochs,
        "examples": length.num_steps * run.loop.batch_size,
        "dense_epochs_planned": length.dense_epochs,
        **_spent(sparsifier, length, run),
        "removed": 0.0 if sieve is None or sieve.report is None else sieve.report.fraction,
        "train_loss": fmean(losses[-length.steps_per_epoch :]),
    }
    model.eval()
    outcome |= _tested(model, data.test)
    outcome["seconds"] = round(time.monotonic() - begun, 1)
    outcome["cpu_seconds"] = round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 1)
    if not math.isfinite(outcome["test_loss"]):
        raise ValueError(f"{run.name}: training diverged, the loss is {outcome['test_loss']}")
    return outcome


def batches(
    num_examples: int, num_steps: int, run: Run, sieve: Sieve | None = None
) -> Iterator[tuple[int, int, Integers]]:
    """(step, epoch, indices) of every batch; incomplete last batches are left out. What a sieve removes, epochs do not have any more."""
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


def _sieve(run: Run, length: Length, data: ImageData) -> Sieve | None:
    """Removal after the fraction `sieve_at` of the epochs, where the run has a sieve."""
    if not run.settings.get("sieve"):
        return None
    at_epoch = max(1, round(float(run.settings["sieve_at"]) * length.epochs))
    settings = Sieving(
        at_epoch=at_epoch, max_fraction=float(run.settings["sieve_most"]), min_presentations=min(3, at_epoch)
    )
    return Sieve(settings, num_examples=len(data.train), seed=run.seed)


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


def _spent(sparsifier: Sparsifier | None, length: Length, run: Run) -> dict[str, Any]:
    """What the run cost by the masks that it really had; must agree with the plan."""
    if sparsifier is None:
        return {
            "dense_epochs": length.dense_epochs,
            "final_sparsity": 0.0,
            "peak_density": 1.0,
            "num_edits": 0,
        }
    counts = {name: length.shapes[name].numel for name in sparsifier.masks}
    parts: list[cost.Segment] = []
    begin = 0
    grows = {part.end for part in length.parts if part.dense_gradients}
    for record in sparsifier.history:
        if record.step > begin:
            parts.append(
                cost.Segment(
                    begin=begin, end=record.step, counts=counts, dense_gradients=record.step in grows
                )
            )
            begin = record.step
        counts = counts | {name: change.num_kept for name, change in record.layers.items()}
    parts.append(cost.Segment(begin=begin, end=length.num_steps, counts=counts))
    report = sparsifier.finalize()
    return {
        "dense_epochs": cost.macs(length.shapes, parts, run.loop.batch_size) / length.dense_epoch_macs,
        "final_sparsity": report.summary.sparsity,
        "peak_density": cost.peak_density(length.shapes, parts),
        "num_edits": len(report.history),
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
    train = _first(data.train, run.images)
    test = data.test if run.test == "test" else validation_images()
    return ImageData(train=train, test=_first(test, run.test_images), source=data.source)


def _first(split: Split, count: int | None) -> Split:
    """So many images, the same number of each class where it divides."""
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
