"""What a process pays before and beside the arithmetic: bytes on disk, load to first result, resident memory, overhead of a call.

ResNet-50 at 90 % unstructured (random places, stem and head dense), fp16 values. Load to first result: a fresh process, from
gossamer.runtime.load (its import included, interpreter and NumPy not) to the first outputs; the file is in the page cache. Resident
memory: fresh processes after five inferences, against ONNX Runtime on the dense twin. Overhead of a call: a linear layer of 4 to 4.

    python benchmarks/startup.py --json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gossamer import runtime
from gossamer.bench import memory
from gossamer.bench.engines import ENGINES
from gossamer.bench.fresh import random_masks
from gossamer.bench.script import store
from gossamer.bench.subject import DenseNetwork, Subject
from gossamer.export import pack
from gossamer.tasks.models import resnet50
from gossamer.training.protection import Protection

RESULTS = Path(__file__).parent / "results" / "startup.json"
FRESH = """
import sys, time, numpy
x = numpy.ones((1, 3, 224, 224), numpy.float32)
start = time.perf_counter()
from gossamer.runtime import load
session = load(sys.argv[1], threads=1, max_batch=1)
loaded = time.perf_counter()
session.run(x)
print(loaded - start, time.perf_counter() - start)
"""


def first_result(path: Path, repeats: int) -> tuple[float, float]:
    """Milliseconds of load and of load with the first result, the shortest of fresh processes."""
    found = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", FRESH, path], capture_output=True, text=True, check=True)
        found.append([1e3 * float(text) for text in done.stdout.split()])
    return min(load for load, _ in found), min(first for _, first in found)


def call_overhead(folder: Path, repeats: int) -> float:
    """Microseconds of a call of a tiny network from Python, the median of bursts of 1000."""
    path = folder / "tiny.safetensors"
    pack(nn.Linear(4, 4), torch.zeros(1, 4), path)
    session = runtime.load(path, threads=1)
    x = np.zeros((1, 4), np.float32)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(1000):
            session.run(x)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times))


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    """One record."""
    path, all_but_stem = folder / "resnet50.safetensors", folder / "all_but_stem.safetensors"
    dense = 0
    for target, protect in ((path, Protection()), (all_but_stem, Protection(last=False))):
        torch.manual_seed(0)
        model = resnet50().eval()
        masks = random_masks(model, sparsity=0.9, protect=protect)
        pack(model, torch.randn(1, 3, 224, 224), target, masks=masks, max_batch=1, name="resnet50")
        dense = sum(4 * parameter.numel() for parameter in model.parameters())
    load, first = first_result(path, 3 if quick else 15)
    ports = DenseNetwork.of(path).ports(1)
    artifact = ENGINES["onnxruntime"].build(Subject(packed=path), folder, batch=1)
    ours = memory.measure("gossamer", path, batch=1, threads=1, ports=ports)
    theirs = memory.measure("onnxruntime", artifact.path, batch=1, threads=1, ports=ports)
    return {
        "network": "resnet50",
        "pattern": "unstructured",
        "sparsity": 0.9,
        "dtype": "float16",
        "batch": 1,
        "threads": 1,
        "quick": quick,
        "bytes_dense_fp32": dense,
        "bytes_on_disk": path.stat().st_size,
        "bytes_on_disk_classifier_sparse": all_but_stem.stat().st_size,
        "smaller_classifier_dense": round(dense / path.stat().st_size, 2),
        "smaller_all_but_stem_sparse": round(dense / all_but_stem.stat().st_size, 2),
        "load_ms": round(load, 1),
        "load_to_first_result_ms": round(first, 1),
        "resident_bytes": ours.resident,
        "own_bytes": ours.own,
        "onnxruntime_resident_bytes": theirs.resident,
        "onnxruntime_own_bytes": theirs.own,
        "resident_share": round(ours.resident / theirs.resident, 3),
        "call_overhead_us": round(call_overhead(folder, 5 if quick else 50), 2),
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, nothing else; never stored")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--store", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), quick=options.quick)
    print(
        json.dumps(found) if options.json else "\n".join(f"{key:30} {value}" for key, value in found.items())
    )
    if options.store and not options.quick:
        store(RESULTS, "startup", [found])


if __name__ == "__main__":
    main()
