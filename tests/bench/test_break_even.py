"""The sparsity from which on sparse beats dense, by hand."""

from __future__ import annotations

import pytest

from gossamer.bench.break_even import break_even


def _row(sparsity: float, ratio: float, kernel: str = "spmm") -> dict:
    return {"shape": "a", "pattern": "unstructured", "sparsity": sparsity, "ratio": ratio, "kernel": kernel}


def test_break_even_by_hand():
    rows = [_row(0.5, 0.8), _row(0.6, 1.2), _row(0.7, 2.0)]
    assert break_even(rows, "a", "unstructured") == pytest.approx(0.55)
    assert break_even(rows[1:], "a", "unstructured") == 0.6
    assert break_even(rows[:1], "a", "unstructured") is None
    assert break_even([_row(0.5, 1.0, "dense"), _row(0.7, 2.0)], "a", "unstructured") == 0.7


def test_break_even_counts_from_the_last_crossing_on():
    rows = [_row(0.5, 0.8), _row(0.6, 1.2), _row(0.7, 0.8), _row(0.8, 1.2)]
    assert break_even(rows, "a", "unstructured") == pytest.approx(0.75)
