"""The planner's cost table, measured: what each kind of work of the lane kernels costs on this CPU (native/costs.h).

Layers of several shapes and densities are planned with `tune`, which runs every candidate; each candidate tells how much of every kind of
work it does (`work`) and how long it took. The costs are the non-negative numbers whose weighted sum comes nearest to the times, all
relative. Also printed: how far the estimates lie off, and what choosing by estimate loses against choosing by time.

    python scripts/calibrate.py                     all instruction sets of this CPU
    python scripts/calibrate.py --isa avx2 --layers
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from gossamer.formats import PackedMatrix, for_pattern, pack, packed_file
from gossamer.graph import Input, Manifest, Network, Node, Output
from gossamer.kernels import native
from gossamer.runtime import load
from gossamer.sparsity.patterns import nearest_count, parse_pattern

# inputs, outputs, size of the image, kernel
SHAPES = (
    (16, 16, 28, 3),
    (64, 64, 56, 3),
    (128, 128, 28, 3),
    (256, 256, 14, 3),
    (512, 512, 7, 3),
    (64, 256, 56, 1),
    (256, 64, 56, 1),
    (512, 128, 28, 1),
    (256, 1024, 14, 1),
    (1024, 256, 14, 1),
    (2048, 512, 7, 1),
    (192, 768, 14, 1),
)
DENSITIES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8)
WORK = (
    "entry",
    "aligned",
    "split",
    "far",
    "row",
    "sum",
    "copy",
    "column",
    "dense",
    "dense split",
    "dense far",
    "block far",
    "four",
    "store",
)


def layer(inputs: int, outputs: int, size: int, kernel: int, weight: PackedMatrix) -> bytes:
    """A packed file of one convolution with padding."""
    node = Node(
        op="conv2d",
        name="layer",
        inputs=("x",),
        outputs=("y",),
        attributes={
            "kernel": [kernel, kernel],
            "stride": [1, 1],
            "padding": [kernel // 2] * 4,
            "dilation": [1, 1],
            "groups": 1,
        },
        weights={"weight": "w"},
    )
    network = Network(
        name="layer",
        inputs=(Input(name="x", shape=(1, inputs, size, size)),),
        outputs=(Output(name="y", value="y"),),
        nodes=(node,),
    )
    return packed_file.to_bytes(Manifest(network=network, library="calibration"), {"w": weight})


def weights(outputs: int, columns: int) -> Iterator[tuple[str, PackedMatrix]]:
    """The weights that a shape is measured with, and what they are."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((outputs, columns), dtype=np.float32)
    for pattern, densities in (("unstructured", DENSITIES), ("block:4x1", (0.1, 0.4))):
        chosen = parse_pattern(pattern)
        form, parameters = for_pattern(pattern)
        for density in densities:
            kept = nearest_count(chosen.counts(matrix.shape), density * matrix.size)
            mask = chosen.mask(torch.from_numpy(rng.random(matrix.shape)), kept).numpy()
            yield f"{pattern} {density:.0%}", pack(matrix * mask, mask, format=form, **parameters)


def measure(isa: str, repeats: int) -> list[dict[str, Any]]:
    """One row a layer: its candidates with times (the least of the repeats) and work."""
    rows = []
    for shape in SHAPES:
        inputs, outputs, _size, kernel = shape
        for words, weight in weights(outputs, kernel * kernel * inputs):
            candidates: list[dict[str, Any]] = []
            for _ in range(repeats):
                with tempfile.TemporaryDirectory() as empty:
                    os.environ["GOSSAMER_CACHE_DIR"] = empty
                    found = load(layer(*shape, weight), isa=isa, tune=True).layers()[0]
                for index, item in enumerate(found["candidates"]):
                    if len(candidates) <= index:
                        candidates.append(item)
                    candidates[index]["measured_us"] = min(
                        candidates[index]["measured_us"], item["measured_us"]
                    )
            rows.append({"shape": shape, "weight": words, "candidates": candidates})
    return rows


def fitted(work: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Non-negative costs [kinds] of least relative error: work [n, kinds] times costs is near times [n].

    >>> fitted(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]]), np.array([5.0, 4.0, 3.0])).round(3).tolist()
    [1.0, 2.0]
    """
    scaled = work / times[:, None]
    scale = np.maximum(scaled.max(axis=0), np.finfo(float).tiny)  # the kinds differ by orders of magnitude
    found, _ = nnls(scaled / scale, np.ones(len(times)))
    costs: np.ndarray = found / scale
    return costs


def main() -> None:
    """Measure, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--isa", help="instruction sets, separated by commas; default: all of this CPU")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--layers", action="store_true", help="also print every layer")
    parser.add_argument("--save", help="write the measurements into this file (JSON)")
    options = parser.parse_args()
    build = native.status().module
    assert build is not None, native.status().reason
    isas = options.isa.split(",") if options.isa else json.loads(build.build_info())["isas_available"]
    saved = {}
    for isa in isas:
        rows = saved[isa] = measure(isa, options.repeats)
        every = [item for row in rows for item in row["candidates"] if item["measured_us"] > 0]
        work = np.array([item["work"] for item in every])
        times = np.array([item["measured_us"] * 1e3 for item in every])
        costs = fitted(work, times)
        error = np.abs(work @ costs / times - 1)
        print(f"{isa}: " + ", ".join(f"{name} {cost:.3g}" for name, cost in zip(WORK, costs, strict=True)))
        print(f"  off by {np.median(error):.1%} in the median, {np.quantile(error, 0.9):.1%} in nine of ten")
        report(rows, costs, options.layers)
    if options.save:
        Path(options.save).write_text(json.dumps(saved))


def report(rows: list[dict[str, Any]], costs: np.ndarray, every: bool) -> None:
    """What the choice by these costs, and by those that are built in, loses against the choice by time."""
    losses: dict[str, list[float]] = {"these costs": [], "built in": []}
    for row in rows:
        found = [item for item in row["candidates"] if item["measured_us"] > 0]
        if len(found) < 2:
            continue
        best = min(item["measured_us"] for item in found)
        mine = min(found, key=lambda item: float(np.dot(item["work"], costs)))
        built = min(found, key=lambda item: float(item["estimated_us"]))
        losses["these costs"].append(mine["measured_us"] / best)
        losses["built in"].append(built["measured_us"] / best)
        if every:
            print(f"  {row['shape']} {row['weight']}: takes {mine['name']}, built in {built['name']}")
            for item in found:
                estimate = float(np.dot(item["work"], costs)) / 1e3
                print(f"    {item['name']:24} {item['measured_us']:9.1f} µs, estimated {estimate:9.1f}")
    for name, loss in losses.items():
        print(f"  {name}: {np.mean(loss):.3f} of the best time in the mean, {max(loss):.3f} at worst")


if __name__ == "__main__":
    main()
