"""What all runs of the study share: images, batches, one step of training, the test.

Order and augmentation of the images are functions of (seed, epoch, index), so that a run is a function of its record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.choose_recipe import validation_images
from benchmarks.study.runs import Run
from gossamer.tasks import task
from gossamer.tasks.fashion_mnist import FASHION_MNIST as TASK
from gossamer.tasks.images import Augment, ImageData, Integers, Split, epoch_order, normalized
from gossamer.training.sieve import Sieve

TEST_BATCH = 250


def data_of(run: Run) -> ImageData:
    """The images of the run: those that it trains on, and those that it is measured on."""
    data = TASK.data[run.data].load()
    test = data.test if run.test == "test" else validation_images()
    return ImageData(
        train=_first(data.train, run.images), test=_first(test, run.test_images), source=data.source
    )


def batches(
    num_examples: int, num_steps: int, batch_size: int, seed: int, sieve: Sieve | None = None
) -> Iterator[tuple[int, int, Integers]]:
    """(step, epoch, indices) of every batch; incomplete last batches are left out. Epochs lack what the sieve has removed."""
    step, epoch = 0, 0
    kept = np.arange(num_examples)
    while step < num_steps:
        order = kept[epoch_order(len(kept), seed=seed, epoch=epoch)]
        for begin in range(0, len(order) - batch_size + 1, batch_size):
            if step < num_steps:
                yield step, epoch, order[begin : begin + batch_size]
                step += 1
        epoch += 1
        if sieve is not None and sieve.end_epoch() is not None:
            kept = sieve.kept.numpy()


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    run: Run,
    data: ImageData,
    indices: Integers,
    *,
    epoch: int,
    factor: float,
) -> tuple[float, Tensor]:
    """One optimizer step at `factor` of the peak learning rate: its loss, and which examples were right before it."""
    for group in optimizer.param_groups:
        group["lr"] = run.loop.lr * factor
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


def optimizer_of(model: nn.Module, run: Run) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; weight decay on tensors of two dimensions and more."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": run.loop.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=run.loop.lr, momentum=run.loop.momentum, nesterov=run.loop.nesterov)


def tested(model: nn.Module, split: Split) -> dict[str, Any]:
    """Accuracy in percent and mean loss, in float32."""
    correct, loss_sum = 0, 0.0
    model.eval()
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


def _first(split: Split, count: int | None) -> Split:
    """So many images (None: all), equally many of each class."""
    if count is None:
        return split
    by_class = [np.flatnonzero(split.labels == label) for label in range(len(TASK.labels))]
    chosen = np.sort(np.concatenate([indices[: count // len(by_class)] for indices in by_class]))
    return Split(images=split.images[chosen], labels=split.labels[chosen])
