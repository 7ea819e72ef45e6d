"""Correctness under load: several threads call several networks for a while; every answer equals the single-threaded one, bit by bit.

python scripts/soak.py                    4 threads, 3 networks, 60 s
python scripts/soak.py --seconds 5 --threads 2
"""

from __future__ import annotations

import argparse
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
from gossamer.tasks.models import mlp, mobilenet_v2, resnet20

Made = tuple[
    str, Callable[[], nn.Module], tuple[int, ...], int
]  # name, model, shape of an example, threads of its session
NETWORKS: tuple[Made, ...] = (
    ("resnet20", resnet20, (1, 28, 28), 2),
    ("mlp", mlp, (1, 28, 28), 1),
    ("mobilenet_v2", mobilenet_v2, (3, 64, 64), 1),
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
    inputs: list[np.ndarray]
    expected: list[dict[str, np.ndarray]]


def cases(folder: Path, networks: Sequence[Made] = NETWORKS) -> list[Case]:
    """Pack the networks; the answers come from one call after the other on another session of the same thread count."""
    found = []
    for name, make, shape, threads in networks:
        torch.manual_seed(0)
        model: nn.Module = make().eval()
        masks = random_masks(model, sparsity=0.9)
        path = folder / f"{name}.safetensors"
        pack(model, torch.randn(1, *shape), path, masks=masks, max_batch=MOST_BATCH)
        threads = min(threads, len(runtime_cpus()))
        draw = np.random.default_rng(1)
        inputs = [draw.standard_normal((batch, *shape), dtype=np.float32) for batch in (1, 2, MOST_BATCH)]
        alone = runtime.load(path, threads=threads)
        session = runtime.load(path, threads=threads)
        found.append(Case(name=name, session=session, inputs=inputs, expected=[alone.run(x) for x in inputs]))
    return found


def runtime_cpus() -> list[int]:
    """CPUs of this process."""
    return (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(os.cpu_count() or 1))
    )


def soak(made: list[Case], *, threads: int, seconds: float) -> Load:
    """Every thread walks over networks and batches in an order of its own until the time is up."""
    load, end = Load(), time.monotonic() + seconds

    def work(seed: int) -> None:
        draw = np.random.default_rng(seed)
        while time.monotonic() < end:
            case = made[draw.integers(len(made))]
            index = int(draw.integers(len(case.inputs)))
            answer = case.session.run(case.inputs[index])
            right = all(np.array_equal(answer[name], value) for name, value in case.expected[index].items())
            load.note(None if right else f"{case.name}, batch {len(case.inputs[index])}")

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
