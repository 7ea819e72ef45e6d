"""The sparsity from which on sparse beats dense, by hand."""

from __future__ import annotations

import pytest

from gossamer.bench.break_even import at_most, break_even, told


def _row(sparsity: float, ratio: float, kernel: str = "spmm") -> dict:
    return {"shape": "a", "pattern": "unstructured", "sparsity": sparsity, "ratio": ratio, "kernel": kernel}


BELOW, ABOVE, FAST = _row(0.5, 0.8), _row(0.6, 1.2), _row(0.7, 2.0)


@pytest.mark.parametrize(
    ("rows", "even", "most", "words"),
    [
        ([BELOW, ABOVE, FAST], pytest.approx(0.55), None, "55%"),
        ([ABOVE, FAST], None, 0.6, "≤ 60%"),
        ([FAST], None, 0.7, "≤ 70%"),
        ([BELOW], None, None, None),
        ([], None, None, None),
        ([_row(0.5, 1.0, "dense"), FAST], None, 0.7, "≤ 70%"),
        ([FAST, _row(0.8, 0.8)], None, None, None),
        ([BELOW, ABOVE, _row(0.7, 0.8), _row(0.8, 1.2)], pytest.approx(0.75), None, "75%"),
    ],
)
def test_break_even_by_hand(rows, even, most, words):
    """Between two points from the last crossing on; where sparse wins at all points, only a bound is known."""
    assert break_even(rows, "a", "unstructured") == even
    assert at_most(rows, "a", "unstructured") == most
    assert told(rows, "a", "unstructured") == words
    assert told(rows, "b", "unstructured") is None
