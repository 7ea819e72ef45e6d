"""What a run trains on: a network and examples, behind one small interface, so that no method knows which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from benchmarks.study.runs import Run
from gossamer.tasks.images import Integers
from gossamer.training import Protection


@dataclass(frozen=True, kw_only=True)
class Data:
    """Examples in memory. A training batch is a function of (indices, seed, epoch); test batches come in a fixed order. source: which
    examples these are, for the record."""

    source: str
    num_train: int
    train_batch: Callable[[Integers, int, int], tuple[Tensor, Tensor]]
    test_batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]


@dataclass(frozen=True, kw_only=True)
class Domain:
    """input_shape: of one example. protect: layers that stay dense. num_train: known without training."""

    model: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    protect: Protection
    num_train: Callable[[Run], int]
    load: Callable[[Run], Data]
