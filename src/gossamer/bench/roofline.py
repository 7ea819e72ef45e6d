"""Where a layer stands below the roof of one core (Williams et al., "Roofline", CACM 2009).

roof(intensity) = min(peak multiply-add rate, intensity x memory bandwidth); intensity = FLOPs of kept weights over the bytes that the
layer must touch at least once: its packed weights, its input and its output. Both ends of the roof are measured on this core, not taken
from a data sheet: fused multiply-adds on registers, and reading a buffer larger than the caches. A layer whose data stay in the cache
may stand above the slanted part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from gossamer.bench.machine import cache_bytes
from gossamer.graph import Node
from gossamer.kernels import native

REPEATS = 7
MOST_BYTES = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class Roof:
    """gflops: peak rate of one core, 1 multiply-add = 2. gbytes: 10^9 bytes a second that one core reads from memory."""

    gflops: float
    gbytes: float
    isa: str

    def at(self, intensity: float, *, threads: int = 1) -> float:
        """Attainable GFLOP/s at this intensity (FLOPs a byte); bandwidth is taken as one core's whatever the threads.

        >>> Roof(gflops=100.0, gbytes=10.0, isa="avx2").at(2.0), Roof(gflops=100.0, gbytes=10.0, isa="avx2").at(50.0, threads=2)
        (20.0, 200.0)
        """
        return min(self.gflops * threads, self.gbytes * intensity)


def flush_buffer() -> np.ndarray:
    """A buffer that does not fit into the caches, at most 512 MiB; written once, because untouched pages are all the same one."""
    return np.ones(min(MOST_BYTES, cache_bytes() * 5 // 4) // 8, np.int64)


def measure(buffer: np.ndarray, isa: str) -> Roof | None:
    """Both ends of the roof, the best of a few tries; None where there is no native library."""
    module = native.status().module
    if module is None:
        return None
    gflops = max(module.peak_flops(isa) for _ in range(REPEATS)) / 1e9
    gbytes = max(module.read_rate(buffer.view(np.float32), isa) for _ in range(REPEATS)) / 1e9
    return Roof(gflops=gflops, gbytes=gbytes, isa=isa)


def explained(
    rows: Sequence[Mapping[str, Any]],
    nodes: Sequence[Node],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    batch: int,
    threads: int,
    roof: Roof | None,
) -> list[dict[str, Any]]:
    """Rows of a plan with `share` of the time, `gflops` over kept MACs, `intensity` and `roof_share`; None where they mean nothing."""
    total = sum(row["seconds"] for row in rows) or 1.0
    by_name = {node.name: node for node in nodes}
    return [
        {**row, "share": row["seconds"] / total, **_position(row, by_name, shapes, batch, threads, roof)}
        for row in rows
    ]


def _position(
    row: Mapping[str, Any],
    nodes: Mapping[str, Node],
    shapes: Mapping[str, tuple[int, ...]],
    batch: int,
    threads: int,
    roof: Roof | None,
) -> dict[str, float | None]:
    node = nodes.get(row["name"])
    if not row["seconds"] or not row["macs"] or node is None:
        return {"gflops": None, "intensity": None, "roof_share": None}
    flops = 2.0 * row["macs"] * batch
    touched = row["bytes"] + 4 * sum(prod(shapes[value]) for value in (*node.inputs, *node.outputs))
    gflops, intensity = flops / row["seconds"] / 1e9, flops / touched
    return {
        "gflops": gflops,
        "intensity": intensity,
        "roof_share": None if roof is None else gflops / roof.at(intensity, threads=threads),
    }
