"""Single layers of ResNet-20 and ResNet-50: the native sparse kernels over dense torch, one thread, by sparsity and pattern.

Each row packs one convolution with uniformly random masks, runs it natively and takes the layer's own seconds (what it costs inside of a
network: no copy of the image in or out), interleaved with torch's convolution in its faster memory format. Minima over the repeats; weights
and image are hot. `--sparsity 0` runs the dense kernel. Where the planner falls back to dense, `kernel` says so: the ratio is dense
over dense then.

    python benchmarks/layers.py              writes benchmarks/results/layers.json and prints the rows
    python benchmarks/layers.py --markdown   prints the table of docs/performance.md from that file
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from gossamer.bench.machine import describe
from gossamer.formats import for_pattern, pack, packed_file
from gossamer.graph import Input, Manifest, Network, Node, Output
from gossamer.runtime import load
from gossamer.sparsity.patterns import nearest_count, parse_pattern

RESULT = Path(__file__).parent / "results" / "layers.json"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution of ResNet-20 (28x28 images) or ResNet-50 (224x224)."""

    inputs: int
    outputs: int
    size: int
    kernel: int
    stride: int = 1

    def __str__(self) -> str:
        return (
            f"{self.inputs}->{self.outputs} {self.kernel}x{self.kernel}/{self.stride} {self.size}x{self.size}"
        )


LAYERS = (
    Layer(inputs=16, outputs=16, size=28, kernel=3),
    Layer(inputs=16, outputs=32, size=28, kernel=3, stride=2),
    Layer(inputs=32, outputs=32, size=14, kernel=3),
    Layer(inputs=64, outputs=64, size=7, kernel=3),
    Layer(inputs=64, outputs=64, size=56, kernel=3),
    Layer(inputs=64, outputs=256, size=56, kernel=1),
    Layer(inputs=256, outputs=64, size=56, kernel=1),
    Layer(inputs=128, outputs=128, size=28, kernel=3),
    Layer(inputs=512, outputs=128, size=28, kernel=1),
    Layer(inputs=256, outputs=256, size=14, kernel=3),
    Layer(inputs=256, outputs=1024, size=14, kernel=1),
    Layer(inputs=512, outputs=512, size=7, kernel=3),
    Layer(inputs=2048, outputs=512, size=7, kernel=1),
)


def measure(
    layer: Layer, pattern: str, sparsity: float, *, batch: int, threads: int, repeats: int
) -> dict[str, object]:
    """One row: milliseconds of both sides, the ratio, kernel and reason."""
    pad = layer.kernel // 2
    columns = layer.kernel * layer.kernel * layer.inputs
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((layer.outputs, columns), dtype=np.float32) / np.float32(columns**0.5)
    if sparsity == 0:
        packed = pack(matrix, None, format="dense", dtype="float32")
    else:
        chosen = parse_pattern(pattern)
        kept = nearest_count(chosen.counts(matrix.shape), (1 - sparsity) * matrix.size)
        mask = chosen.mask(torch.rand(matrix.shape, generator=torch.Generator().manual_seed(1)), kept).numpy()
        form, parameters = for_pattern(pattern)
        packed = pack(matrix * mask, mask, format=form, dtype="float32", **parameters)
    node = Node(
        op="conv2d",
        name="layer",
        inputs=("x",),
        outputs=("y",),
        attributes={
            "kernel": [layer.kernel, layer.kernel],
            "stride": [layer.stride, layer.stride],
            "padding": [pad, pad, pad, pad],
            "dilation": [1, 1],
            "groups": 1,
        },
        weights={"weight": "w"},
    )
    shape = (batch, layer.inputs, layer.size, layer.size)
    network = Network(
        name="layer",
        inputs=(Input(name="x", shape=shape),),
        outputs=(Output(name="y", value="y"),),
        nodes=(node,),
    )
    session = load(
        packed_file.to_bytes(Manifest(network=network, library="benchmark"), {"w": packed}), threads=threads
    )
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    weight = (
        torch.from_numpy(matrix)
        .reshape(layer.outputs, layer.kernel, layer.kernel, layer.inputs)
        .permute(0, 3, 1, 2)
    )
    formats = {
        "contiguous": (x.contiguous(), weight.contiguous()),
        "channels_last": (
            x.contiguous(memory_format=torch.channels_last),
            weight.contiguous(memory_format=torch.channels_last),
        ),
    }
    dense = dict.fromkeys(formats, float("inf"))
    sparse, row = float("inf"), {}
    array = x.numpy()
    for _ in range(repeats):
        for key, (image, filters) in formats.items():
            for _ in range(3):
                start = time.perf_counter()
                functional.conv2d(image, filters, None, layer.stride, pad)
                dense[key] = min(dense[key], time.perf_counter() - start)
        row = session.profile(array, repeats=3)[0]
        sparse = min(sparse, float(row["seconds"]))
    best = min(dense.values())
    return {
        "shape": str(layer),
        "pattern": "dense" if sparsity == 0 else pattern,
        "sparsity": sparsity,
        "kernel": row["kernel"],
        "reason": row["reason"],
        "ms": {"torch": round(best * 1e3, 5), "gossamer": round(sparse * 1e3, 5)},
        "effective_gflops": round(2e-9 * int(row["macs"]) * batch / sparse, 1),
        "ratio": round(best / sparse, 2),
    }


def markdown(rows: list[dict[str, object]]) -> str:
    """Ratios over torch, a line a layer."""
    columns: list[tuple[object, object]] = []
    for row in rows:
        if (key := (row["pattern"], row["sparsity"])) not in columns:
            columns.append(key)
    found = {(row["shape"], row["pattern"], row["sparsity"]): row["ratio"] for row in rows}
    titles = ["dense" if pattern == "dense" else f"{pattern} {float(str(s)):.0%}" for pattern, s in columns]
    lines = ["| layer | " + " | ".join(titles) + " |", "| --- " * (len(titles) + 1) + "|"]
    for layer in LAYERS:
        cells = [str(found.get((str(layer), *column), "")) for column in columns]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--sparsity", default="0,0.5,0.7,0.8,0.9,0.95", help="comma-separated; 0 = the dense kernel"
    )
    parser.add_argument(
        "--pattern", default="unstructured,block:4x1", help="separated by commas (no gather-scatter here)"
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout, nothing written")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, nothing else")
    parser.add_argument(
        "--markdown", action="store_true", help="measure nothing, print the table of the last result"
    )
    options = parser.parse_args()
    if options.markdown:
        print(markdown(json.loads(RESULT.read_text())["rows"]))
        return
    torch.set_num_threads(options.threads)
    sparsities = [float(text) for text in options.sparsity.split(",")]
    rows = []
    with torch.inference_mode():
        for layer in LAYERS:
            for index, pattern in enumerate(options.pattern.split(",")):
                for sparsity in sparsities:
                    if sparsity == 0 and index > 0:
                        continue
                    rows.append(
                        measure(
                            layer,
                            pattern,
                            sparsity,
                            batch=options.batch,
                            threads=options.threads,
                            repeats=5 if options.quick else 40,
                        )
                    )
                    if not options.json:
                        row = rows[-1]
                        print(
                            f"{row['shape']:26} {row['pattern']:13} {sparsity:5} {row['kernel']:11} "
                            f"{row['effective_gflops']:7} GFLOP/s {row['ratio']:6}x"
                        )
    if options.json:
        print(json.dumps(rows))
        return
    result = {
        "command": "python benchmarks/layers.py",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "batch": options.batch,
        "threads": options.threads,
        "quick": options.quick,
        "rows": rows,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
