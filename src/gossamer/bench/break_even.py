"""The sparsity from which on a sparse layer is faster than a dense one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any


def break_even(rows: Sequence[Mapping[str, Any]], shape: str, pattern: str) -> float | None:
    """Lowest sparsity from which on the sparse kernel beats dense, between measured points linear; None where it never does.

    rows: with shape, pattern, sparsity, ratio and kernel; those that the planner runs dense do not count.

    >>> row = {"shape": "a", "pattern": "p", "kernel": "spmm"}
    >>> break_even([{**row, "sparsity": 0.5, "ratio": 0.8}, {**row, "sparsity": 0.75, "ratio": 1.2}], "a", "p")
    0.625
    """
    points = sorted(
        (row["sparsity"], row["ratio"])
        for row in rows
        if row["shape"] == shape and row["pattern"] == pattern and "dense" not in row["kernel"]
    )
    if not points or points[-1][1] < 1:
        return None
    for (low, slow), (high, fast) in reversed(list(pairwise(points))):  # faster from the last crossing on
        if slow < 1 <= fast:
            return float(low + (high - low) * (1 - slow) / (fast - slow))
    return float(points[0][0])
