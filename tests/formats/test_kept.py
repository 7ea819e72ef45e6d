"""Packing from kept entries: memory for the entries alone, and the refusals."""

import tracemalloc

import numpy as np
import pytest

from gossamer import formats
from gossamer.errors import FormatError
from gossamer.formats import Kept

SIDE = 2**16


def spread(format: str) -> tuple[np.ndarray, dict[str, int]]:
    """Slots of about 1e5 entries of a matrix [2^16, 2^16], legal in the format."""
    generator = np.random.default_rng(0)
    if format == "block":  # 4 x 1
        corners = np.sort(generator.choice(SIDE // 4 * SIDE, 25_000, replace=False))
        rows, columns = corners // SIDE * 4, corners % SIDE
        return np.sort(((rows[:, None] + np.arange(4)) * SIDE + columns[:, None]).ravel()), {
            "rows": 4,
            "columns": 1,
        }
    if format == "window":  # one column a row in every chosen window
        windows = np.sort(generator.choice((SIDE // 8) ** 2, 12_500, replace=False))
        rows = windows // (SIDE // 8) * 8
        columns = windows % (SIDE // 8) * 8 + generator.integers(0, 8, windows.size)
        return np.sort(((rows[:, None] + np.arange(8)) * SIDE + columns[:, None]).ravel()), {"width": 8}
    if format == "gather_scatter":  # one bundle of 8 a row: a column of every residue
        columns = generator.integers(0, SIDE // 8, (SIDE, 8)) * 8 + np.arange(8)
        return np.sort((np.arange(SIDE)[:, None] * SIDE + columns).ravel()), {"banks": 8, "per_row": 8}
    return np.sort(generator.choice(SIDE * SIDE, 100_000, replace=False)), {}


@pytest.mark.parametrize("format", ["unstructured", "block", "window", "gather_scatter"])
def test_a_matrix_that_would_not_fit(format: str):
    slots, parameters = spread(format)
    values = np.random.default_rng(1).standard_normal(slots.size).astype(np.float32)
    tracemalloc.start()
    packed = formats.pack_kept(
        Kept((SIDE, SIDE), slots, values), format=format, dtype="float32", **parameters
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 512 * 2**20  # a byte an entry of the dense matrix would be 4096 MiB
    rows, columns, found = formats.entries(packed)
    assert np.array_equal(rows * SIDE + columns, slots)
    assert np.array_equal(found, values)


def test_n_of_m_names_the_first_wrong_group_without_looking_at_the_others():
    slots = np.array([0, 3, 8, 9])  # groups of 4: two, none, two
    with pytest.raises(FormatError, match="2:4: expected 2 kept in every group, got 0 in row 0, group 1"):
        formats.pack_kept(Kept((SIDE, SIDE), slots, np.ones(4, np.float32)), format="n_of_m", n=2, m=4)


@pytest.mark.parametrize(
    ("slots", "count", "message"),
    [
        ([0, 0], 2, "slots: expected ascending numbers below 6, each once"),
        ([3, 1], 2, "ascending"),
        ([5, 6], 2, "below 6"),
        ([-1, 2], 2, "ascending"),
        ([1, 2], 3, "values: expected one for each of the 2 kept entries, got the shape"),
    ],
)
def test_refusals(slots: list[int], count: int, message: str):
    with pytest.raises(FormatError, match=message):
        formats.pack_kept(Kept((2, 3), np.array(slots), np.ones(count, np.float32)), format="unstructured")
