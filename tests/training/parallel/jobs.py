"""Training functions for workers, at the top level of a module so that they can be sent to another process."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gossamer.training.parallel import Turn
from tests.training.helpers import MLP, backward

SIZES = (48, 64, 32)


class Normed(nn.Module):
    """Three linear layers, a norm with buffers behind the first, dropout: everything that has to be combined."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 8)
        self.third = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = nn.functional.dropout(torch.relu(self.second(x)), 0.2, self.training)  # draws random numbers
        return self.third(x)


def steps(model: nn.Module, optimizer: Any, turn: Turn) -> None:
    turn.attach(model, optimizer)
    for step in range(turn.first_step + 1, turn.first_step + turn.steps + 1):
        backward(model, step, shape=MLP)
        optimizer.step()


def train(model: nn.Module, turn: Turn) -> None:
    steps(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01), turn)


def train_adam(model: nn.Module, turn: Turn) -> None:
    steps(model, torch.optim.AdamW(model.parameters(), lr=0.01), turn)


def train_from_a_loader(model: nn.Module, turn: Turn) -> None:
    """The images come from a process of their own, as DataLoaders have them."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    turn.attach(model, optimizer)
    images = TensorDataset(torch.arange(6.0 * 8 * turn.steps).reshape(-1, 6).sin())
    for (x,) in DataLoader(images, batch_size=8, num_workers=1):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


class LeavesAThread:
    """Trains, and leaves a thread behind that keeps its process alive."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, model: nn.Module, turn: Turn) -> None:
        train(model, turn)
        threading.Thread(target=time.sleep, args=(self.seconds,)).start()


class Dies:
    """Trains, but the first so many attempts at the turns of one partition die: by an exception or by SIGKILL."""

    def __init__(self, folder: Path, *, partition: int, times: int, kill: bool = False) -> None:
        self.folder, self.partition, self.times, self.kill = folder, partition, times, kill

    def __call__(self, model: nn.Module, turn: Turn) -> None:
        if turn.partition == self.partition:
            attempt = len(list(self.folder.glob("attempt*")))
            if attempt < self.times:
                (self.folder / f"attempt{attempt}").touch()
                if self.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise RuntimeError("power is out")
        train(model, turn)


class StopsInRound:
    """Trains until a round that raises."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, model: nn.Module, turn: Turn) -> None:
        if turn.round == self.number:
            raise RuntimeError("stopped")
        train(model, turn)


class SlowAtTheEnd:
    """Takes its time over the fine-tuning, which one worker does while the others wait."""

    def __call__(self, model: nn.Module, turn: Turn) -> None:
        if turn.partition is None:
            time.sleep(3)
        train(model, turn)


class Waits:
    """Trains in round 0; later says that it is there, and waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, model: nn.Module, turn: Turn) -> None:
        if turn.round > 0:
            (self.folder / f"waits-{os.getpid()}").touch()
            time.sleep(600)
        train(model, turn)
