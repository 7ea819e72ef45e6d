"""Compressed sparse rows: what is checked once for all products."""

import numpy as np
import pytest

from gossamer.errors import FormatError
from gossamer.kernels.csr import Csr, csr


def test_kept_zeros_stay_and_empty_rows_count():
    mask = np.array([[False, False], [True, True], [False, True]])
    found = csr(np.array([[1, 2], [0, 3], [4, 5]], np.float32), mask)
    assert found.values.tolist() == [0, 3, 5]
    assert found.row_start.tolist() == [0, 0, 2, 3]
    assert found.columns.tolist() == [0, 1, 1]


@pytest.mark.parametrize("mask", [np.ones((2, 3), bool), np.ones((2, 2), np.int64), np.ones(4, bool)])
def test_masks_that_are_none(mask: np.ndarray):
    with pytest.raises(FormatError, match="expected a matrix and a bool mask of one shape"):
        csr(np.ones((2, 2), np.float32), mask)


def test_dtypes():
    with pytest.raises(
        FormatError,
        match="expected float32 values, uint32 row starts and uint32 columns, got float64, uint32, int64",
    ):
        Csr(shape=(1, 1), values=np.ones(1), row_start=np.array([0, 1], np.uint32), columns=np.array([0]))
