"""Fashion-MNIST and ResNet-20, channels last: the study's main domain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.choose_recipe import validation_images
from benchmarks.study.domain import Data, Domain
from benchmarks.study.runs import Run
from gossamer.tasks.fashion_mnist import FASHION_MNIST as TASK
from gossamer.tasks.images import Augment, Integers, Split, normalized
from gossamer.training import Protection

TEST_BATCH = 250


def model() -> nn.Module:
    """ResNet-20 with fresh weights."""
    return TASK.models["resnet20"]().to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def num_train(run: Run) -> int:
    """Training images of the run."""
    return run.images or TASK.data[run.data].train_images


def load(run: Run) -> Data:
    """The images that the run trains on, and those that it is measured on."""
    data = TASK.data[run.data].load()
    train = _first(data.train, run.images)
    test = _first(data.test if run.test == "test" else validation_images(), run.test_images)
    augment = Augment(flip=run.loop.flip, crop=run.loop.crop)
    chosen = type(data)(train=train, test=test, source=data.source)

    def train_batch(indices: Integers, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        images, labels = TASK.training_batch(chosen, indices, augment, seed=seed, epoch=epoch)
        return images.to(memory_format=torch.channels_last), labels

    def test_batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(test), TEST_BATCH):
            images = normalized(test.images[start : start + TEST_BATCH], mean=TASK.mean, std=TASK.std)
            labels = torch.from_numpy(test.labels[start : start + TEST_BATCH])
            yield torch.from_numpy(images).to(memory_format=torch.channels_last), labels

    return Data(source=data.source, num_train=len(train), train_batch=train_batch, test_batches=test_batches)


def _first(split: Split, count: int | None) -> Split:
    """So many images (None: all), equally many of each class."""
    if count is None:
        return split
    by_class = [np.flatnonzero(split.labels == label) for label in range(len(TASK.labels))]
    chosen = np.sort(np.concatenate([indices[: count // len(by_class)] for indices in by_class]))
    return Split(images=split.images[chosen], labels=split.labels[chosen])


IMAGES = Domain(
    model=model, input_shape=TASK.input_shape, protect=Protection(), num_train=num_train, load=load
)
