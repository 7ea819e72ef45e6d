"""A whole network as a benchmark: made, pruned at random places, packed, checked against float64, measured beside dense engines.

What the scripts in benchmarks/ share. Masks are uniformly random (every layer to the same sparsity), stem and head and depthwise
convolutions stay dense; weights are untrained. Dense engines get the same network with its zeros stored: they do not look at values.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gossamer import runtime
from gossamer.bench.fresh import random_masks
from gossamer.bench.parallel import side_by_side
from gossamer.bench.result import BenchResult
from gossamer.bench.run import Progress, Settings, Variant, compare
from gossamer.export import pack
from gossamer.sparsity.patterns import parse_pattern

DENSE = ("onnxruntime", "openvino")
INT8 = "openvino_int8"
LAYER_KEYS = (
    "name",
    "op",
    "kernel",
    "reason",
    "seconds",
    "share",
    "gflops",
    "intensity",
    "roof_share",
    "num_kept",
    "num_weights",
)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A network to measure. example(batch, generator) makes an input. masks: how they are drawn, in words."""

    name: str
    model: Callable[[], nn.Module]
    example: Callable[[int, torch.Generator], Tensor]
    masks: str = "uniform random, stem and head dense"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is measured of every workload: all sparsities with all patterns in one interleaved run, for every batch and thread count."""

    sparsities: tuple[float, ...] = (0.9,)
    patterns: tuple[str, ...] = ("unstructured",)
    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    dtype: str = "float32"
    engines: tuple[str, ...] = (*DENSE, INT8, "gossamer")
    rounds: int | None = None
    quick: bool = False

    def variants(self) -> list[tuple[float | None, str]]:
        """Sparsity and pattern of each packed network; a pattern that fixes its sparsity stands once."""
        found: list[tuple[float | None, str]] = []
        for pattern in self.patterns:
            fixed = parse_pattern(pattern).target((32, 256)) is not None
            found += [(None, pattern)] if fixed else [(sparsity, pattern) for sparsity in self.sparsities]
        return found


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A packed variant with its reference: the first output of one example in float64."""

    variant: Variant
    example: np.ndarray
    expected: np.ndarray

    def error(self, threads: int) -> float:
        """Largest difference to float64, relative to the largest magnitude there."""
        session = runtime.load(self.variant.packed, threads=threads)
        (first, *_) = session.outputs
        found = session.run({session.inputs[0].name: self.example})[first.name]
        return float(np.abs(found - self.expected).max() / np.abs(self.expected).max())


def measure_all(workloads: Sequence[Workload], sweep: Sweep, progress: Progress) -> list[dict[str, Any]]:
    """One plain record a network, batch, thread count, pattern and sparsity (see `record`): all are packed first, side by side."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            partial(
                prepare,
                workload,
                Path(folder) / f"{workload.name}-{index}.safetensors",
                *variant,
                sweep,
                progress,
            )
            for workload in workloads
            for index, variant in enumerate(sweep.variants())
        ]
        packed = side_by_side(jobs)
        count = len(sweep.variants())
        return [
            row
            for index, workload in enumerate(workloads)
            for row in measure(workload, packed[index * count : (index + 1) * count], sweep, progress)
        ]


def measure(
    workload: Workload, packed: Sequence[Packed], sweep: Sweep, progress: Progress
) -> list[dict[str, Any]]:
    """The records of one network."""
    records = []
    for threads in sweep.threads:
        errors = [item.error(threads) for item in packed]
        for batch in sweep.batches:
            progress(f"{workload.name}: batch {batch}, {threads} thread(s)")
            settings = Settings(
                batch=batch, threads=threads, rounds=sweep.rounds, quick=sweep.quick, with_memory=False
            )
            results = compare(
                [item.variant for item in packed], settings=settings, engines=sweep.engines, progress=progress
            )
            records += [
                record(workload, sweep, result, error) for result, error in zip(results, errors, strict=True)
            ]
    return records


def prepare(
    workload: Workload,
    path: Path,
    sparsity: float | None,
    pattern: str,
    sweep: Sweep,
    progress: Progress,
) -> Packed:
    """Make, prune and pack one variant; the same seed gives every variant the same weights before pruning."""
    progress(f"packing {workload.name}, {pattern} {'' if sparsity is None else sparsity}")
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = workload.model().eval()
    masks = random_masks(model, sparsity=sparsity, pattern=pattern)
    example = workload.example(1, generator)
    pack(
        model,
        example,
        path,
        masks=masks,
        pattern=pattern,
        dtype=sweep.dtype,
        max_batch=max(2, *sweep.batches),  # one of 1 would fix the batch in the capture
        name=workload.name,
    )
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(example.double() if example.is_floating_point() else example)
    while not isinstance(expected, Tensor):
        expected = expected[0]
    return Packed(
        variant=Variant(packed=path, sparsity=sparsity, pattern=pattern),
        example=example.numpy(),
        expected=expected.numpy(),
    )


def record(workload: Workload, sweep: Sweep, result: BenchResult, error: float | None) -> dict[str, Any]:
    """What a script prints. ms: minima; ratios: of minima (above 1: gossamer is faster)."""
    timings = {row.engine: row.timing for row in result.engines if row.timing is not None}
    over_dense, over_int8 = result.over(DENSE), result.over([INT8])
    return {
        "network": workload.name,
        "pattern": result.pattern,
        "sparsity": result.sparsity,
        "masks": workload.masks,
        "dtype": sweep.dtype,
        "batch": result.batch,
        "threads": result.threads,
        "ms": {name: round(timing.minimum, 4) for name, timing in timings.items()},
        "ms_median": {name: round(timing.p50, 4) for name, timing in timings.items()},
        "ms_cold": {
            name: round(timing.flushed_p50, 4)
            for name, timing in timings.items()
            if timing.flushed_p50 is not None
        },
        "ratio_over_best_dense": _rounded(over_dense),
        "ratio_over_int8": _rounded(over_int8),
        "max_rel_error": error,
        "bytes_on_disk": {row.engine: row.bytes_on_disk for row in result.engines if row.timing is not None},
        "not_measured": {row.engine: row.error for row in result.engines if row.error},
        "warnings": result.warnings,
        "quick": result.quick,
        "rounds": result.rounds,
        "layers": [
            {key: _rounded(row[key]) for key in LAYER_KEYS} for row in result.layers if row["seconds"]
        ],
    }


def summary(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of text for a table: network, pattern, sparsity, batch, threads, both ratios, error."""
    return [
        [
            row["network"],
            row["pattern"],
            "" if row["sparsity"] is None else f"{100 * row['sparsity']:g} %",
            str(row["batch"]),
            str(row["threads"]),
            f"{row['ms']['gossamer']:.3f}",
            _times(row["ratio_over_best_dense"]),
            _times(row["ratio_over_int8"]),
            "-" if row["max_rel_error"] is None else f"{row['max_rel_error']:.1e}",
        ]
        for row in records
    ]


SUMMARY_HEADER = [
    "network",
    "pattern",
    "sparsity",
    "batch",
    "threads",
    "ms",
    "over dense",
    "over int8",
    "error",
]


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _rounded(value: Any) -> Any:
    """Four significant digits of a float.

    >>> _rounded(3.14159), _rounded("x"), _rounded(None)
    (3.142, 'x', None)
    """
    return float(f"{value:.4g}") if isinstance(value, float) else value
