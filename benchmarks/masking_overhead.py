"""Claim: between edits, masking costs at most 10 % of a dense training step (ResNet-20, batch 64 and 128).

    python benchmarks/masking_overhead.py [--quick] [--rounds N] [--threads N]

Both twins train in one process on the same random batches; their steps are interleaved in changing order, so that a change of clock or
a noisy neighbour meets both. A step is forward, backward, optimizer.step and zero_grad. Reported are medians, minima and the ratio of
medians, of the wall clock and of the processor time of the whole process (which other processes disturb less); the machine's noise is the
ratio of two dense twins, measured in the same loop. Writes benchmarks/results/masking-overhead.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from gossamer.tasks.models import resnet20
from gossamer.training import RigL, Sparsifier

RESULT = Path(__file__).parent / "results" / "masking-overhead.json"
OPTIMIZERS = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3),
}


def twin(optimizer: str, batch: int, *, sparse: bool) -> Callable[[], None]:
    """One training step of a fresh ResNet-20 in channels_last, masked or dense. The masked one has 12 edits behind it, so that most of its
    weights have grown lately and are on Adam's books: the dearest case."""
    torch.manual_seed(0)
    model = resnet20().to(memory_format=torch.channels_last)
    stepper = OPTIMIZERS[optimizer](model)
    images = torch.randn(batch, 1, 28, 28).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    if sparse:
        Sparsifier(model, RigL(sparsity=0.9, every=1, stop=13), stepper, seed=0)

    def step() -> None:
        nn.functional.cross_entropy(model(images), labels).backward()
        stepper.step()
        stepper.zero_grad()

    for _ in range(14):  # warm-up, and the edits of the masked twin
        step()
    return step


def measure(optimizer: str, batch: int, rounds: int) -> dict[str, float | int | str]:
    twins = {
        "dense": twin(optimizer, batch, sparse=False),
        "masked": twin(optimizer, batch, sparse=True),
        "dense again": twin(optimizer, batch, sparse=False),
    }
    wall: dict[str, list[float]] = {name: [] for name in twins}
    processor: dict[str, list[float]] = {name: [] for name in twins}
    names = list(twins)
    for number in range(rounds):
        for name in names[number % 3 :] + names[: number % 3]:
            begin, begin_processor = time.perf_counter(), time.process_time()
            twins[name]()
            wall[name].append(time.perf_counter() - begin)
            processor[name].append(time.process_time() - begin_processor)
    middle = {name: 1e3 * statistics.median(values) for name, values in wall.items()}
    busy = {name: 1e3 * statistics.median(values) for name, values in processor.items()}
    return {
        "optimizer": optimizer,
        "batch": batch,
        "rounds": rounds,
        "dense_ms_median": round(middle["dense"], 3),
        "masked_ms_median": round(middle["masked"], 3),
        "dense_ms_min": round(1e3 * min(wall["dense"]), 3),
        "masked_ms_min": round(1e3 * min(wall["masked"]), 3),
        "ratio": round(middle["masked"] / middle["dense"], 4),
        "ratio_dense_to_dense": round(middle["dense again"] / middle["dense"], 4),
        "ratio_processor": round(busy["masked"] / busy["dense"], 4),
        "ratio_processor_dense_to_dense": round(busy["dense again"] / busy["dense"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, nothing written")
    parser.add_argument("--rounds", type=int, default=60, help="steps of each twin")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rounds = 8 if options.quick else options.rounds
    rows = [measure(optimizer, batch, rounds) for optimizer in OPTIMIZERS for batch in (64, 128)]
    for row in rows:
        print(
            f"{row['optimizer']:<6} batch {row['batch']:>3}: dense {row['dense_ms_median']:8.2f} ms, "
            f"masked {row['masked_ms_median']:8.2f} ms, ratio {row['ratio']:.3f} (dense to dense "
            f"{row['ratio_dense_to_dense']:.3f}), processor time {row['ratio_processor']:.3f} "
            f"({row['ratio_processor_dense_to_dense']:.3f})"
        )
    if options.quick:
        return
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    report = {
        "claim": "a masked step costs at most 1.10 of a dense step between edits",
        "holds_wall_clock": all(float(row["ratio"]) <= 1.10 for row in rows),
        "holds_processor_time": all(float(row["ratio_processor"]) <= 1.10 for row in rows),
        "load_average": os.getloadavg()[0],
        "command": f"python benchmarks/masking_overhead.py --rounds {rounds} --threads {options.threads}",
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": options.threads,
        },
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
