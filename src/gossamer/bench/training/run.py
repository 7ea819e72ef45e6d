"""Measures training steps: engines in turns, pinned, minima and medians; memory of their tensors; the peak of a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from gossamer.bench.measure import Timing, interleave, pinned
from gossamer.bench.training.engines import ENGINES, Setting, engines_of
from gossamer.bench.training.networks import network
from gossamer.errors import RuntimeFailure


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One row: what is trained, and how it is measured."""

    model: str = "mlp"
    layers: tuple[int, ...] | None = None  # widths of an mlp
    sparsity: float | None = 0.9
    pattern: str = "unstructured"
    optimizer: str = "sgd"
    method: str = "static"
    every: int = 100  # steps between the edits of a method
    batch: int | None = None  # the network's own
    threads: int = 1
    rounds: int = 10

    def setting(self) -> Setting:
        """Checked."""
        found = network(self.model, self.layers)
        return Setting(
            network=found,
            sparsity=self.sparsity,
            pattern=self.pattern,
            optimizer=self.optimizer,
            method_name=self.method,
            every=self.every,
            batch=found.batch if self.batch is None else self.batch,
        )


def measure(plan: Plan, progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """The row, ready for JSON. Ratios are of minima; over the faster one of the two memory formats of dense and masked steps."""
    setting = plan.setting()
    names = engines_of(setting)
    progress(f"{setting.network.name}, {plan.pattern} {plan.sparsity}: {', '.join(names)}")
    torch.set_num_threads(plan.threads)
    with pinned(plan.threads):
        torch.manual_seed(0)
        steps = {name: ENGINES[name](setting).step for name in names}
        for step in steps.values():
            step()
        timings = interleave(steps, rounds=plan.rounds, burst_ms=50)
    del steps
    progress("memory")
    peaks = {
        name: peak(replace(plan, every=2), name) for name in ("compact", "dense")
    }  # two edits in five steps
    return {
        "network": setting.network.name,
        "sparsity": plan.sparsity,
        "pattern": plan.pattern,
        "optimizer": plan.optimizer,
        "method": plan.method,
        "batch": setting.batch,
        "threads": plan.threads,
        "ratio_over_dense": ratio(timings, "dense", "dense NHWC"),
        "ratio_over_masked": ratio(timings, "masked", "masked NHWC"),
        "ratio_over_sparselab": ratio(timings, "sparselab"),
        "memory_ratio": memory_ratio(setting),
        "peak_mib": peaks["compact"],
        "peak_mib_dense": peaks["dense"],
        "ms": {name: round(timing.minimum, 3) for name, timing in timings.items()},
        "ms_p50": {name: round(timing.p50, 3) for name, timing in timings.items()},
    }


def ratio(timings: Mapping[str, Timing], *others: str) -> float | None:
    """Fastest of the others over compact; None where none of them was measured.

    >>> times = {"dense": Timing.of([9.0, 6.0], cold=[9.0]), "compact": Timing.of([2.0], cold=[2.0])}
    >>> ratio(times, "dense", "dense NHWC"), ratio(times, "sparselab")
    (3.0, None)
    """
    found = [timings[name].minimum for name in others if name in timings]
    return round(min(found) / timings["compact"].minimum, 2) if found else None


def memory_ratio(setting: Setting) -> float:
    """Bytes of weights, gradients and Adam's state after a step, places of the kept ones included, over those of the dense network."""
    adam = replace(setting, optimizer="adam", batch=min(setting.batch, 8))
    ours, dense = (ENGINES[name](adam).memory().total for name in ("compact", "dense"))
    return round(ours / dense, 4)


def peak(plan: Plan, engine: str) -> float:
    """MiB that training takes at most, in a fresh process, over what the process held before the network was built."""
    command = [sys.executable, "-m", "gossamer.bench.training.peak", engine, json.dumps(asdict(plan))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeFailure(f"measuring the peak memory of {engine!r} failed: {done.stderr.strip()[-500:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))
