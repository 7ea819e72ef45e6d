"""Bundles of gather-scatter groups: every regular multigraph falls into perfect matchings, at any size and always the same."""

import numpy as np
import pytest

from gossamer import formats
from gossamer.formats.bundling import bundle_columns, matchings


@pytest.mark.parametrize("size", [1, 2, 8, 64])
@pytest.mark.parametrize("degree", [1, 7, 100])
def test_matchings(size: int, degree: int):
    random = np.random.default_rng(size * degree)
    counts = np.zeros((size, size), np.int64)
    for _ in range(degree):
        counts[np.arange(size), random.permutation(size)] += 1
    found = matchings(counts)
    rebuilt = np.zeros_like(counts)
    for residues, times in found:
        assert times > 0
        assert sorted(residues) == list(range(size))
        rebuilt[np.arange(size), residues] += times
    assert np.array_equal(rebuilt, counts)
    assert matchings(counts) == found
    assert len(found) <= min(degree, size * size - 2 * size + 2)


def test_no_bundles():
    assert matchings(np.zeros((4, 4), np.int64)) == []


def test_bundle_columns_by_hand():
    # rows keep {0, 2, 1} and {4, 1, 3} modulo 2: row 0 has residues 0, 0, 1, row 1 has 0, 1, 1
    bundles = bundle_columns(np.array([[0, 2, 1], [4, 1, 3]]), 2)
    assert bundles.tolist() == [[0, 1], [2, 3], [1, 4]]


def test_large_layer():
    """1024 x 1024 at 90 %, vertical: bundles are found in much less than the test's patience."""
    random = np.random.default_rng(0)
    mask = np.zeros((1024, 1024), bool)
    for group in range(128):  # bundle t of a group in the stretch t of 8 columns, residues permuted
        for stretch in random.choice(128, 102, replace=False):
            mask[group * 8 + np.arange(8), stretch * 8 + random.permutation(8)] = True
    values = random.standard_normal((1024, 1024)).astype(np.float32)
    packed = formats.pack(values, mask, format="gather_scatter", banks=8, per_row=1)
    assert np.array_equal(formats.unpack(packed)[1], mask)
