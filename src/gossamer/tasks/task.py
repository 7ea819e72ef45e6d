"""What a task is: data, networks, what goes in and comes out, loss and metric.

Dimensions: N examples, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gossamer.graph import ImagePreprocessing
from gossamer.tasks.images import Augment, ImageData, Integers, augmented, normalized


@dataclass(frozen=True, kw_only=True)
class DataChoice:
    """One source of a task's data, and how many images it has (known without loading it)."""

    load: Callable[[], ImageData]
    train_images: int
    test_images: int


@dataclass(frozen=True, kw_only=True)
class ImageTask:
    """Classification of images.

    data: name of a data source -> how to load it. models: name -> function that builds the network with fresh weights.
    input_shape: [C, H, W] of one example. mean, std: of pixels in 0..1.
    """

    name: str
    summary: str
    data: Mapping[str, DataChoice]
    models: Mapping[str, Callable[[], nn.Module]]
    labels: tuple[str, ...]
    input_shape: tuple[int, int, int]
    mean: float
    std: float
    licence: str

    def training_batch(
        self, data: ImageData, indices: Integers, augment: Augment, *, seed: int, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """Augmented, normalized images [N, C, H, W] float32 and labels [N] int64."""
        images = augmented(data.train.images[indices], indices, augment, seed=seed, epoch=epoch)
        return (
            torch.from_numpy(normalized(images, mean=self.mean, std=self.std)),
            torch.from_numpy(data.train.labels[indices]),
        )

    def test_batch(self, data: ImageData, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Normalized test images and labels, as `training_batch`, without augmentation."""
        return (
            torch.from_numpy(normalized(data.test.images[start:stop], mean=self.mean, std=self.std)),
            torch.from_numpy(data.test.labels[start:stop]),
        )

    def preprocessing(self) -> ImagePreprocessing:
        """How a uint8 image becomes the network's input; stored in the packed file."""
        channels, height, width = self.input_shape
        return ImagePreprocessing(
            size=(height, width), channels=channels, mean=(self.mean,) * channels, std=(self.std,) * channels
        )


def loss(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy of logits [N, K]."""
    return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def num_correct(logits: Tensor, labels: Tensor) -> int:
    """How many examples have their label on top (accuracy is this over N).

    >>> num_correct(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([1, 1]))
    1
    """
    return int((logits.argmax(dim=1) == labels).sum())
