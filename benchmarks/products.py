"""The three products of a sparse linear layer in training over torch.mm, one thread, float32: forward, dX, dW.

Y = X W^T, dX = dY W and dW = dY^T X at kept entries, all batch-major as torch stores them; the sparse side includes its turns into lanes
and back. Uniformly random masks, hot, interleaved, pinned to one CPU, minima. The transposed structure is made once a mask, outside.

    python -m benchmarks.products          writes benchmarks/results/products.json and prints the rows
    python -m benchmarks.products --json   prints a JSON list and writes nothing
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from gossamer.bench.machine import describe
from gossamer.bench.measure import pinned
from gossamer.kernels.linear import linear_product
from gossamer.kernels.sddmm import sddmm
from gossamer.kernels.structure import structure

RESULT = Path(__file__).parent / "results" / "products.json"
SHAPES = ((1024, 1024), (4096, 1024), (1024, 4096))


def best_of(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(calls, math.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(shape: tuple[int, int], batch: int, sparsity: float, rounds: int) -> dict[str, object]:
    """One row: milliseconds of the three products on both sides, and the ratios."""
    rng = np.random.default_rng(0)
    rows, columns = shape
    mask = rng.random(shape) >= sparsity
    weight = torch.from_numpy((rng.standard_normal(shape) * mask).astype(np.float32))
    x = torch.from_numpy(rng.standard_normal((batch, columns)).astype(np.float32))
    dy = torch.from_numpy(rng.standard_normal((batch, rows)).astype(np.float32))
    places, values = structure(mask), weight.numpy()[mask]
    by_column = places.transposed()
    given, back = x.numpy(), dy.numpy()
    calls: dict[str, Callable[[], object]] = {
        "forward dense": lambda: torch.mm(x, weight.T),
        "forward": lambda: linear_product(places, values, given),
        "dX dense": lambda: torch.mm(dy, weight),
        "dX": lambda: linear_product(by_column, values, back),
        "dW dense": lambda: torch.mm(dy.T, x),
        "dW": lambda: sddmm(places, back, given),
    }
    for _ in range(3):
        best_of(calls, 1)
    ms = best_of(calls, rounds)
    names = ("forward", "dX", "dW")
    ratios = {name: round(ms[f"{name} dense"] / ms[name], 2) for name in names}
    total = sum(ms[f"{name} dense"] for name in names) / sum(ms[name] for name in names)
    return {
        "shape": f"{rows}x{columns}",
        "batch": batch,
        "sparsity": sparsity,
        "ms": {name: round(t * 1e3, 4) for name, t in ms.items()},
        "ratio": ratios | {"all": round(total, 2)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sparsity", default="0.8,0.9,0.95", help="comma-separated")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout, nothing written")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, nothing else")
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        os.execve(sys.executable, [*sys.orig_argv], os.environ | {"OMP_NUM_THREADS": "1"})
    rows = []
    with pinned(1), torch.inference_mode():
        torch.set_num_threads(1)
        for shape in SHAPES:
            for sparsity in (float(text) for text in options.sparsity.split(",")):
                row = measure(shape, options.batch, sparsity, 10 if options.quick else 60)
                rows.append(row)
                if not options.json:
                    print(
                        f"{row['shape']} batch {row['batch']} {sparsity} {row['ms']} {row['ratio']}",
                        flush=True,
                    )
    if options.json:
        print(json.dumps(rows))
        return
    result = {
        "command": "python -m benchmarks.products",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "quick": options.quick,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
