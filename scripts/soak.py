"""Correctness under load: several threads call several networks for a while; every answer equals the single-threaded one, bit by bit.

python scripts/soak.py                    4 threads, 3 networks, 60 s
python scripts/soak.py --seconds 5 --threads 2
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gossamer import runtime
from gossamer.bench.fresh import random_masks
from gossamer.export import pack
from gossamer.tasks.models import Bert, resnet20

Arrays = dict[str, np.ndarray]
Draw = Callable[[np.random.Generator, int, int], Arrays]  # batch, length -> inputs
LENGTHS = (3, 24, 11)  # of the examples; networks with a free length are packed for 1 to 24


@dataclass(frozen=True, kw_only=True)
class Made:
    """A network to call. length: like that of `pack`; threads: of its session."""

    name: str
    model: Callable[[], nn.Module]
    draw: Draw
    length: str | None = None
    states: dict[str, str] | None = None
    threads: int = 1


class Language(nn.Module):
    """An LSTM with its states as inputs and outputs: all threads share a session, so every call gives its own."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = nn.Embedding(50, 64), nn.LSTM(64, 96, batch_first=True)
        self.head = nn.Linear(96, 50)

    def forward(self, ids: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> dict[str, torch.Tensor]:
        """ids [N, S], h and c [N, 96] -> logits [N, S, 50] and the states after the last step."""
        y, (hn, cn) = self.lstm(self.words(ids), (h[None], c[None]))
        return {"logits": self.head(y), "hn": hn[0], "cn": cn[0]}


def _image(draw: np.random.Generator, batch: int, length: int) -> Arrays:
    return {"x": draw.standard_normal((batch, 1, 28, 28), dtype=np.float32)}


def _ids(draw: np.random.Generator, batch: int, length: int) -> Arrays:
    return {"input_ids": draw.integers(0, 50, (batch, length))}


def _ids_and_states(draw: np.random.Generator, batch: int, length: int) -> Arrays:
    states = {name: draw.standard_normal((batch, 96), dtype=np.float32) for name in "hc"}
    return {"ids": draw.integers(0, 50, (batch, length))} | states


def _bert() -> nn.Module:
    return Bert(vocabulary=50, positions=32, width=96, depth=2, heads=4)


NETWORKS: tuple[Made, ...] = (
    Made(name="resnet20", model=resnet20, draw=_image, threads=2),
    Made(
        name="lstm",
        model=Language,
        draw=_ids_and_states,
        length="ids:1=1..24",
        states={"h": "hn", "c": "cn"},
    ),
    Made(name="bert", model=_bert, draw=_ids, length="input_ids:1=1..24"),
)
MOST_BATCH = 3


@dataclass
class Load:
    """What came of it: how many calls, and which answers were wrong."""

    calls: int = 0
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, failure: str | None) -> None:
        with self.lock:
            self.calls += 1
            if failure is not None:
                self.wrong.append(failure)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network: the session that all threads share, and what it must answer."""

    name: str
    session: runtime.Session
    inputs: list[Arrays]
    expected: list[Arrays]


def cases(folder: Path, networks: Sequence[Made] = NETWORKS) -> list[Case]:
    """Pack the networks; the answers come from one call after the other on another session of the same thread count."""
    found = []
    for made in networks:
        torch.manual_seed(0)
        model = made.model().eval()
        masks = random_masks(model, sparsity=0.9)
        path = folder / f"{made.name}.safetensors"
        draw = np.random.default_rng(1)
        example = {name: torch.from_numpy(value) for name, value in made.draw(draw, 1, LENGTHS[0]).items()}
        pack(
            model,
            example,
            path,
            masks=masks,
            max_batch=MOST_BATCH,
            length=made.length,
            states=made.states,
        )
        threads = min(made.threads, len(runtime_cpus()))
        sizes = itertools.product((1, 2, MOST_BATCH), LENGTHS if made.length else LENGTHS[:1])
        inputs = [made.draw(draw, batch, length) for batch, length in sizes]
        alone = runtime.load(path, threads=threads)
        session = runtime.load(path, threads=threads)
        found.append(
            Case(name=made.name, session=session, inputs=inputs, expected=[alone.run(x) for x in inputs])
        )
    return found


def runtime_cpus() -> list[int]:
    """CPUs of this process."""
    return (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(os.cpu_count() or 1))
    )


def soak(made: list[Case], *, threads: int, seconds: float) -> Load:
    """Every thread walks over networks, batches and lengths in an order of its own until the time is up."""
    load, end = Load(), time.monotonic() + seconds

    def work(seed: int) -> None:
        draw = np.random.default_rng(seed)
        while time.monotonic() < end:
            case = made[draw.integers(len(made))]
            index = int(draw.integers(len(case.inputs)))
            answer = case.session.run(case.inputs[index])
            right = all(np.array_equal(answer[name], value) for name, value in case.expected[index].items())
            shapes = {name: value.shape for name, value in case.inputs[index].items()}
            load.note(None if right else f"{case.name}, inputs {shapes}")

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return load


def main() -> None:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        load = soak(cases(Path(folder)), threads=options.threads, seconds=options.seconds)
    print(
        f"{load.calls} calls by {options.threads} threads on {len(NETWORKS)} networks, {len(load.wrong)} wrong"
    )
    for failure in sorted(set(load.wrong)):
        print(f"differs from the single-threaded answer: {failure}")
    sys.exit(bool(load.wrong))


if __name__ == "__main__":
    main()
