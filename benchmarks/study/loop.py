"""What all runs of the study share: the order of the examples, one step of training, the test.

The order, and an example's augmentation, are functions of (seed, epoch, index), so that a run is a function of its record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.study.domain import Data, Domain
from benchmarks.study.images import IMAGES
from benchmarks.study.packages import PACKAGES
from benchmarks.study.runs import Run
from gossamer.tasks import task
from gossamer.tasks.images import Integers, epoch_order
from gossamer.training.sieve import Sieve

DOMAINS: dict[str, Domain] = {"embedded": IMAGES, "full": IMAGES, "packages": PACKAGES}
"""By the name of a run's data."""


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
    inputs: Tensor,
    labels: Tensor,
    factor: float,
) -> tuple[float, Tensor]:
    """One optimizer step at `factor` of the peak learning rate: its loss, and which examples were right before it."""
    for group in optimizer.param_groups:
        group["lr"] = run.loop.lr * factor
    model.train()
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=run.loop.precision == "bf16"):
        logits = model(inputs)
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


def tested(model: nn.Module, data: Data) -> dict[str, Any]:
    """Accuracy in percent and mean loss, in float32."""
    correct, loss_sum, count = 0, 0.0, 0
    model.eval()
    with torch.inference_mode():
        for inputs, labels in data.test_batches():
            logits = model(inputs)
            correct += task.num_correct(logits, labels)
            loss_sum += float(task.loss(logits, labels)) * len(labels)
            count += len(labels)
    return {"accuracy": 100 * correct / count, "test_loss": loss_sum / count, "test_images": count}
