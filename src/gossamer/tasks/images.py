"""Images in memory, and batches that are functions of (seed, epoch, index).

Order and augmentation of an example depend on nothing else: no generator is carried along, so a run that is interrupted and
resumed sees bit for bit the batches of the uninterrupted one, whatever was loaded or skipped in between.

Random bits are a counter-based hash (the finalizer of SplitMix64; Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014) of seed, purpose, epoch and index.

Dimensions: N images, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

ORDER, AUGMENT = 1, 2
"""Purposes of random bits; each number is used for one thing only."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Images and labels of one split: uint8 [N, H, W] and int64 [N]."""

    images: Bytes
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """A train and a test split, and where they came from."""

    train: Split
    test: Split
    source: str


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Cheap augmentation of training images.

    flip: mirror left and right with probability 1/2. crop: shift by up to so many pixels in each direction, zeros come in.
    """

    flip: bool = True
    crop: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.crop <= 16:
            raise ValueError(f"crop: expected 0 to 16 pixels, got {self.crop}")


def random_bits(seed: int, purpose: int, epoch: int, indices: Integers) -> NDArray[np.uint64]:
    """64 random bits for each index.

    >>> random_bits(0, ORDER, 0, np.arange(3)).tolist() == random_bits(0, ORDER, 0, np.arange(3)).tolist()
    True
    >>> int(random_bits(0, ORDER, 0, np.array([5]))[0]) == int(random_bits(0, ORDER, 0, np.arange(9))[5])
    True
    """
    key = np.uint64(0)
    with np.errstate(over="ignore"):
        for number in (seed, purpose, epoch):
            key = _mix(np.asarray([key ^ np.uint64(number & 0xFFFFFFFFFFFFFFFF)], np.uint64))[0]
        return _mix(key ^ indices.astype(np.uint64))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def epoch_order(count: int, *, seed: int, epoch: int) -> Integers:
    """A permutation of `count` examples.

    >>> sorted(epoch_order(5, seed=0, epoch=3).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.argsort(random_bits(seed, ORDER, epoch, np.arange(count)), kind="stable").astype(np.int64)


def augmented(images: Bytes, indices: Integers, augment: Augment, *, seed: int, epoch: int) -> Bytes:
    """The images [N, H, W] of these indices as epoch `epoch` sees them."""
    count, height, width = images.shape
    bits = random_bits(seed, AUGMENT, epoch, indices)
    if augment.flip:
        mirrored = (bits & np.uint64(1)).astype(bool)
        images = np.where(mirrored[:, None, None], images[:, :, ::-1], images)
    if augment.crop:
        pad = augment.crop
        choices = np.uint64(2 * pad + 1)
        down = ((bits >> np.uint64(8)) % choices).astype(np.int64)
        right = ((bits >> np.uint64(32)) % choices).astype(np.int64)
        padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad)))
        rows = down[:, None] + np.arange(height)
        columns = right[:, None] + np.arange(width)
        images = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return images


def normalized(images: Bytes, *, mean: float, std: float) -> Floats:
    """uint8 [N, H, W] -> float32 [N, 1, H, W], (x / 255 - mean) / std.

    >>> normalized(np.array([[[0, 255]]], np.uint8), mean=0.5, std=0.5).tolist()
    [[[[-1.0, 1.0]]]]
    """
    scaled = images.astype(np.float32) * np.float32(1 / 255)
    result: Floats = ((scaled - np.float32(mean)) / np.float32(std))[:, None]
    return result
