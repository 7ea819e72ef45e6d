"""Single layers of ResNet-20, ResNet-50 and BERT: the native sparse kernels over dense torch, one thread, by sparsity and pattern.

Each row packs one layer with uniformly random masks, runs it natively and takes the layer's own seconds (what it costs inside of a
network: no copy of the image in or out), interleaved with torch's convolution in its faster memory format (linear layers: torch's linear).
Minima over the repeats; weights and image are hot. `--sparsity 0` runs the dense kernel. Where the planner falls back to dense, `kernel`
says so: the ratio is dense over dense then.

`break_even` of a row is that of its layer and pattern: the sparsity from which on sparse wins, null where it does not lie between two
measured ones; `break_even_at_most` the lowest measured one where sparse wins there already.

    python benchmarks/layers.py --store      writes benchmarks/results/layers.json and prints the rows
    python benchmarks/layers.py --sparsity 0.9 --pattern unstructured,block:4x1,gs:8,1 --json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from gossamer.bench.break_even import at_most, break_even, told
from gossamer.bench.machine import describe
from gossamer.bench.measure import pinned
from gossamer.bench.script import split_patterns
from gossamer.files import write_atomic
from gossamer.formats import PackedMatrix, for_pattern, pack, packed_file
from gossamer.graph import Input, Manifest, Network, Node, Output
from gossamer.report import Figure, Page, Section, plots
from gossamer.runtime import load
from gossamer.sparsity.patterns import nearest_count, parse_pattern

RESULT = Path(__file__).parent / "results" / "layers.json"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution of ResNet-20 (28x28 images) or ResNet-50 (224x224); kernel 0: a linear layer over `size` rows."""

    inputs: int
    outputs: int
    size: int
    kernel: int
    stride: int = 1

    @property
    def kind(self) -> str:
        """What layers of one behaviour are called in tables."""
        if self.kernel == 0:
            return "linear, rows of tokens"
        strided = ", stride 2" if self.stride > 1 else ""
        images = "small" if self.size < 14 else "large"
        return f"{self.kernel}x{self.kernel}{strided}, {images} image"

    def __str__(self) -> str:
        if self.kernel == 0:
            return f"{self.inputs}->{self.outputs} linear, {self.size} rows"
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
    Layer(inputs=192, outputs=768, size=197, kernel=0),
    Layer(inputs=768, outputs=3072, size=128, kernel=0),
    Layer(inputs=3072, outputs=768, size=128, kernel=0),
)


def measure(
    layer: Layer, pattern: str, sparsity: float, *, batch: int, threads: int, repeats: int, dtype: str
) -> dict[str, Any]:
    """One row: milliseconds of both sides, the ratio, kernel and reason."""
    columns = max(layer.kernel, 1) ** 2 * layer.inputs
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((layer.outputs, columns), dtype=np.float32) / np.float32(columns**0.5)
    if sparsity == 0:
        packed = pack(matrix, None, format="dense", dtype=dtype)
    else:
        chosen = parse_pattern(pattern)
        kept = chosen.target(matrix.shape)
        if kept is None:
            kept = nearest_count(chosen.counts(matrix.shape), (1 - sparsity) * matrix.size)
        mask = chosen.mask(torch.rand(matrix.shape, generator=torch.Generator().manual_seed(1)), kept).numpy()
        form, parameters = for_pattern(pattern)
        packed = pack(matrix * mask, mask, format=form, dtype=dtype, **parameters)
    session = load(_file(layer, batch, packed), threads=threads)
    x = torch.randn(_shape(layer, batch), generator=torch.Generator().manual_seed(2))
    dense = _dense_calls(layer, x, torch.from_numpy(matrix))
    best = dict.fromkeys(dense, float("inf"))
    sparse, row = float("inf"), {}
    array = x.numpy()
    for _ in range(repeats):
        for key, call in dense.items():
            for _ in range(3):
                start = time.perf_counter()
                call()
                best[key] = min(best[key], time.perf_counter() - start)
        row = session.profile(array, repeats=3)[0]
        sparse = min(sparse, float(row["seconds"]))
    fastest = min(best.values())
    return {
        "shape": str(layer),
        "kind": layer.kind,
        "pattern": "dense" if sparsity == 0 else pattern,
        "sparsity": sparsity,
        "dtype": dtype,
        "kernel": row["kernel"],
        "reason": row["reason"],
        "ms": {"torch": round(fastest * 1e3, 5), "gossamer": round(sparse * 1e3, 5)},
        "effective_gflops": round(2e-9 * int(row["macs"]) * batch / sparse, 1),
        "ratio": round(fastest / sparse, 2),
    }


def _shape(layer: Layer, batch: int) -> tuple[int, ...]:
    if layer.kernel == 0:
        return batch, layer.size, layer.inputs
    return batch, layer.inputs, layer.size, layer.size


def _file(layer: Layer, batch: int, packed: PackedMatrix) -> bytes:
    """A packed file of this layer alone."""
    attributes: dict[str, Any] = {}
    if layer.kernel:
        attributes = {
            "kernel": [layer.kernel, layer.kernel],
            "stride": [layer.stride, layer.stride],
            "padding": [layer.kernel // 2] * 4,
            "dilation": [1, 1],
            "groups": 1,
        }
    node = Node(
        op="conv2d" if layer.kernel else "linear",
        name="layer",
        inputs=("x",),
        outputs=("y",),
        attributes=attributes,
        weights={"weight": "w"},
    )
    network = Network(
        name="layer",
        inputs=(Input(name="x", shape=_shape(layer, batch)),),
        outputs=(Output(name="y", value="y"),),
        nodes=(node,),
    )
    return packed_file.to_bytes(Manifest(network=network, library="benchmark"), {"w": packed})


def _dense_calls(
    layer: Layer, x: torch.Tensor, matrix: torch.Tensor
) -> dict[str, Callable[[], torch.Tensor]]:
    """What torch does instead, in each memory format."""
    if layer.kernel == 0:
        return {"linear": lambda: functional.linear(x, matrix)}
    size = layer.kernel
    weight = matrix.reshape(layer.outputs, size, size, layer.inputs).permute(0, 3, 1, 2)

    def call(memory_format: torch.memory_format) -> Callable[[], torch.Tensor]:
        image = x.contiguous(memory_format=memory_format)
        filters = weight.contiguous(memory_format=memory_format)
        return lambda: functional.conv2d(image, filters, None, layer.stride, size // 2)

    return {"contiguous": call(torch.contiguous_format), "channels_last": call(torch.channels_last)}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--sparsity", default="0,0.5,0.6,0.7,0.8,0.9,0.95", help="comma-separated; 0 = the dense kernel"
    )
    parser.add_argument("--pattern", default="unstructured,block:4x1", help="separated by commas")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16"), help="stored values")
    parser.add_argument("--rounds", type=int, help="repeats; default 40, quick 3")
    parser.add_argument("--json", action="store_true", help="one JSON list on standard output")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, nothing else; never stored")
    parser.add_argument("--store", action="store_true", help=f"write {RESULT.name}")
    parser.add_argument("--plot", type=Path, help="write a page with plots")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    with torch.inference_mode(), pinned(options.threads):
        for layer in LAYERS:
            for index, pattern in enumerate(split_patterns(options.pattern)):
                for sparsity in [float(text) for text in options.sparsity.split(",")]:
                    if sparsity == 0 and index > 0:
                        continue
                    row = measure(
                        layer,
                        pattern,
                        sparsity,
                        batch=options.batch,
                        threads=options.threads,
                        repeats=options.rounds or (3 if options.quick else 40),
                        dtype=options.dtype,
                    )
                    rows.append(row)
                    if not options.json:
                        print(
                            f"{row['shape']:26} {row['pattern']:13} {sparsity:5} {row['kernel']:11} "
                            f"{row['effective_gflops']:7} GFLOP/s {row['ratio']:6}x",
                            flush=True,
                        )
    for row in rows:
        for key, found in (("break_even", break_even), ("break_even_at_most", at_most)):
            sparsity = found(rows, row["shape"], row["pattern"])
            row[key] = None if sparsity is None else round(sparsity, 3)
    if options.json:
        print(json.dumps(rows))
    else:
        for shape, pattern in dict.fromkeys((row["shape"], row["pattern"]) for row in rows):
            if pattern != "dense":
                print(f"{shape:26} {pattern:13} break-even: {told(rows, shape, pattern) or 'none measured'}")
    if options.plot is not None:
        page(rows).write(options.plot)
    if options.store and not options.quick:
        result = {
            "command": "python benchmarks/layers.py --store",
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": describe(),
            "batch": options.batch,
            "threads": options.threads,
            "rounds": options.rounds or 40,
            "rows": rows,
        }
        RESULT.parent.mkdir(exist_ok=True)
        write_atomic(RESULT, (json.dumps(result, indent=1) + "\n").encode())


def page(rows: Sequence[dict[str, Any]]) -> Page:
    """A line a layer: ratio over sparsity."""
    sections = []
    for pattern in dict.fromkeys(row["pattern"] for row in rows if row["pattern"] != "dense"):
        series: dict[str, tuple[list[float], list[float]]] = {}
        for row in rows:
            if row["pattern"] == pattern:
                x, y = series.setdefault(row["shape"], ([], []))
                x.append(100 * row["sparsity"])
                y.append(row["ratio"])
        svg = plots.lines(series, x_label="sparsity, %", y_label="times faster than dense torch")
        sections.append(
            Section(title=str(pattern), blocks=(Figure(svg=svg, caption="Above 1, sparse is faster."),))
        )
    return Page(title="Single layers", lead="One thread, minima, hot weights.", sections=tuple(sections))


if __name__ == "__main__":
    main()
