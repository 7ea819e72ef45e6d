"""The sparsity from which on a sparse layer is faster than a dense one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any


def break_even(rows: Sequence[Mapping[str, Any]], shape: str, pattern: str) -> float | None:
    """Sparsity from which on the sparse kernel beats dense, between the two measured points beside it linear; else None.

    rows: with shape, pattern, sparsity, ratio and kernel; those that the planner runs dense do not count.

    >>> row = {"shape": "a", "pattern": "p", "kernel": "spmm"}
    >>> break_even([{**row, "sparsity": 0.5, "ratio": 0.8}, {**row, "sparsity": 0.75, "ratio": 1.2}], "a", "p")
    0.625
    """
    points = _points(rows, shape, pattern)
    if not points or points[-1][1] < 1:
        return None
    for (low, slow), (high, fast) in reversed(list(pairwise(points))):  # faster from the last crossing on
        if slow < 1 <= fast:
            return float(low + (high - low) * (1 - slow) / (fast - slow))
    return None


def at_most(rows: Sequence[Mapping[str, Any]], shape: str, pattern: str) -> float | None:
    """The lowest measured sparsity where the sparse kernel wins there and at all above: break-even is there or below; else None.

    >>> at_most([{"shape": "a", "pattern": "p", "kernel": "spmm", "sparsity": 0.9, "ratio": 2.0}], "a", "p")
    0.9
    """
    points = _points(rows, shape, pattern)
    return float(points[0][0]) if points and all(ratio >= 1 for _, ratio in points) else None


def told(rows: Sequence[Mapping[str, Any]], shape: str, pattern: str) -> str | None:
    """Break-even in words: where it is, or where it is at most; None where sparse never wins.

    >>> told([{"shape": "a", "pattern": "p", "kernel": "spmm", "sparsity": 0.9, "ratio": 2.0}], "a", "p")
    '≤ 90%'
    """
    even, most = break_even(rows, shape, pattern), at_most(rows, shape, pattern)
    if even is not None:
        return f"{even:.0%}"
    return None if most is None else f"≤ {most:.0%}"


def _points(rows: Sequence[Mapping[str, Any]], shape: str, pattern: str) -> list[tuple[float, float]]:
    """Sparsities, ascending, with their ratios."""
    return sorted(
        (row["sparsity"], row["ratio"])
        for row in rows
        if row["shape"] == shape and row["pattern"] == pattern and "dense" not in row["kernel"]
    )
