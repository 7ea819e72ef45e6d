"""Sparse matrix times one vector over the faster of torch and NumPy, one thread, by pattern: weights hot and weights from memory.

Hot: one matrix again and again, as in the steps of a recurrent network. From memory: copies of the matrix, together larger than the
last-level cache; the dense side cycles matrices of the same total size or more. Both sides take turns on one CPU; minima over the rounds.
Masks are uniformly random in their pattern. The native side is a session over linear layers: the time of the layer as the executor takes
it (hot), the whole call divided by the number of layers (from memory).

    python -m benchmarks.spmv              writes benchmarks/results/spmv.json and prints the rows
    python -m benchmarks.spmv --json       prints a JSON list and writes nothing
    python -m benchmarks.spmv --markdown   prints a table from that file
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer.bench.machine import describe
from gossamer.bench.measure import pinned
from gossamer.formats import for_pattern, pack, packed_file
from gossamer.graph import Input, Manifest, Network, Node, Output
from gossamer.runtime import load
from gossamer.sparsity.patterns import nearest_count, parse_pattern

RESULT = Path(__file__).parent / "results" / "spmv.json"
LINES = (  # pattern and precision of the stored values
    ("unstructured", "float32"),
    ("unstructured", "float16"),
    ("gs:8,1", "float32"),
    ("gs:8,1", "float16"),
    ("gs:8,8", "float32"),
    ("window:8", "float32"),
    ("window:8", "float16"),
    ("block:4x1", "float32"),
    ("block:8x1", "float32"),
    ("block:8x1", "float16"),
)
ONCE = (("1:8", 0.875), ("2:4", 0.5), ("unstructured", 0.7), ("unstructured", 0.5), ("unstructured", 0.3))
"""Patterns with a sparsity of their own, and the range of the bitmap; float32."""


def cache_bytes() -> int:
    """The last-level cache as the system tells it; 32 MiB where it does not."""
    sizes = [
        int(text[:-1]) * 1024
        for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
        if (text := path.read_text().strip()).endswith("K")
    ]
    return max(sizes, default=32 << 20)


def session_of(
    matrix: NDArray[np.float32], pattern: str, sparsity: float, dtype: str, layers: int
) -> tuple[object, NDArray[np.float32]]:
    """`layers` linear layers over one input, each with packed weights of its own in memory; and the weight."""
    chosen = parse_pattern(pattern)
    kept = nearest_count(chosen.counts(matrix.shape), (1 - sparsity) * matrix.size)
    mask = chosen.mask(torch.rand(matrix.shape, generator=torch.Generator().manual_seed(1)), kept).numpy()
    form, parameters = for_pattern(pattern)
    packed = pack(matrix * mask, mask, format=form, dtype=dtype, **parameters)
    nodes = tuple(
        Node(op="linear", name=f"layer{i}", inputs=("x",), outputs=(f"y{i}",), weights={"weight": "w"})
        for i in range(layers)
    )
    network = Network(
        name="layers",
        inputs=(Input(name="x", shape=(1, matrix.shape[1])),),
        outputs=(Output(name="y", value=f"y{layers - 1}"),),
        nodes=nodes,
    )
    data = packed_file.to_bytes(Manifest(network=network, library="benchmark"), {"w": packed})
    stored = (matrix.astype(dtype).astype(np.float32)) * mask
    return load(data, threads=1), stored


def minimum(call: Callable[[], object], repeats: int) -> float:
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def dense_calls(weights: list[torch.Tensor], x: torch.Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every dense product over all matrices, results into memory that is there."""
    out = torch.empty(weights[0].shape[0])
    arrays, vector, result = [w.numpy() for w in weights], x.numpy(), out.numpy()
    yield "torch.mv", lambda: [torch.mv(w, x, out=out) for w in weights]
    yield "torch.linear", lambda: [torch.nn.functional.linear(x, w) for w in weights]
    yield "numpy", lambda: [np.dot(w, vector, out=result) for w in arrays]


def measure(
    weights: list[torch.Tensor], pattern: str, sparsity: float, dtype: str, *, cold: bool, rounds: int
) -> dict[str, object]:
    """One row: microseconds a product on both sides, and the ratio; `weights` are copies of one matrix."""
    matrix = weights[0]
    shape = (matrix.shape[0], matrix.shape[1])
    x = torch.randn(shape[1], generator=torch.Generator().manual_seed(2))
    session, stored = session_of(matrix.numpy(), pattern, sparsity, dtype, 1)
    row = session.layers()[0]  # type: ignore[attr-defined]
    image = x.numpy()[None]
    got = session.run(image)["y"][0]  # type: ignore[attr-defined]
    want = stored.astype(np.float64) @ x.numpy().astype(np.float64)
    error = float(np.abs(got - want).max() / np.abs(want).max())
    layers = 1
    if cold:
        layers = math.ceil(1.25 * cache_bytes() / int(row["bytes"]))
        session, _ = session_of(matrix.numpy(), pattern, sparsity, dtype, layers)
    weights = weights if cold else weights[:1]
    copies = len(weights)
    dense = {name: math.inf for name, _ in dense_calls(weights, x)}
    sparse = math.inf
    repeats = 1 if cold else 20
    for _ in range(rounds):
        for name, call in dense_calls(weights, x):
            dense[name] = min(dense[name], minimum(call, repeats) / copies)
        for _ in range(repeats):
            if cold:
                sparse = min(sparse, minimum(lambda: session.run(image), 1) / layers)  # type: ignore[attr-defined]
            else:
                sparse = min(sparse, float(session.profile(image, repeats=5)[0]["seconds"]))  # type: ignore[attr-defined]
    best = min(dense.values())
    return {
        "shape": f"{shape[0]}x{shape[1]}",
        "pattern": pattern,
        "values": dtype,
        "sparsity": round(1 - int(row["num_kept"]) / matrix.numel(), 4),
        "weights": "from memory" if cold else "hot",
        "kernel": row["kernel"],
        "reason": row["reason"],
        "us": {name: round(t * 1e6, 2) for name, t in dense.items()} | {"gossamer": round(sparse * 1e6, 2)},
        "bytes": row["bytes"],
        "max_rel_error": error,
        "ratio": round(best / sparse, 2),
    }


def markdown(rows: list[dict[str, object]]) -> str:
    lines = [
        "| shape | pattern | values | sparsity | kernel | hot | from memory |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    cells: dict[tuple[object, ...], dict[object, object]] = {}
    for row in rows:
        key = (row["shape"], row["pattern"], row["values"], row["sparsity"], row["kernel"])
        cells.setdefault(key, {})[row["weights"]] = row["ratio"]
    for key, ratios in cells.items():
        shown = [f"{float(str(key[3])):.0%}" if i == 3 else str(k) for i, k in enumerate(key)]
        lines.append(f"| {' | '.join(shown)} | {ratios.get('hot', '')} | {ratios.get('from memory', '')} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sparsity", default="0.9", help="comma-separated")
    parser.add_argument("--shape", default="4096x1024", help="outputs x inputs, comma-separated")
    parser.add_argument("--pattern", help="only these patterns, separated by ;")
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout, nothing written")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, nothing else")
    parser.add_argument(
        "--markdown", action="store_true", help="measure nothing, print the last result's table"
    )
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":  # NumPy's threads are fixed when it is imported
        os.execve(sys.executable, [*sys.orig_argv], os.environ | {"OMP_NUM_THREADS": "1"})
    if options.markdown:
        print(markdown(json.loads(RESULT.read_text())["rows"]))
        return
    shapes = [(int(r), int(c)) for r, c in (text.split("x") for text in options.shape.split(","))]
    cases = [(p, float(s), d) for s in options.sparsity.split(",") for p, d in LINES]
    cases += [(pattern, sparsity, "float32") for pattern, sparsity in ONCE]
    if options.pattern:
        cases = [case for case in cases if case[0] in options.pattern.split(";")]
    rows = []
    with pinned(1), torch.inference_mode():
        torch.set_num_threads(1)
        for shape in shapes:
            matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3)) / shape[1] ** 0.5
            copies = math.ceil(1.25 * cache_bytes() / (4 * matrix.numel()))
            weights = [matrix.clone() for _ in range(copies)]
            for pattern, sparsity, dtype in cases:
                for cold in (False, True):
                    rounds = (2 if cold else 5) if options.quick else (6 if cold else 30)
                    row = measure(weights, pattern, sparsity, dtype, cold=cold, rounds=rounds)
                    rows.append(row)
                    if not options.json:
                        us = row["us"]
                        print(
                            f"{row['shape']} {pattern:13} {dtype} {row['sparsity']:6} {row['weights']:11} "
                            f"{row['kernel']:12} {us} {row['ratio']:6}x",
                            flush=True,
                        )
    if options.json:
        print(json.dumps(rows))
        return
    if options.quick:
        return
    result = {
        "command": "python -m benchmarks.spmv",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "last_level_cache_bytes": cache_bytes(),
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
