"""Native sparse times dense on every instruction set of this CPU against the reference, on odd shapes."""

import json

import numpy as np
import pytest

from gossamer.errors import FormatError, RuntimeFailure
from gossamer.kernels.csr import Csr, csr
from gossamer.kernels.native import status
from gossamer.kernels.spmm import spmm, spmm_reference

ISAS = json.loads(status().module.build_info())["isas_available"] if status().available else []


def random_csr(rows: int, columns: int, density: float, seed: int = 0) -> Csr:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((rows, columns)).astype(np.float32)
    return csr(matrix, rng.random((rows, columns)) < density)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("rows", "columns", "n"), [(1, 1, 1), (3, 7, 15), (17, 33, 17), (5, 9, 300)])
def test_equals_reference(isa: str, density: float, rows: int, columns: int, n: int) -> None:
    a = random_csr(rows, columns, density)
    x = np.random.default_rng(1).standard_normal((columns, n)).astype(np.float32)
    np.testing.assert_allclose(spmm(a, x, isa=isa), spmm_reference(a, x), rtol=0, atol=1e-5)


def test_reference_by_hand() -> None:
    a = csr(
        np.array([[1, 2, 3], [4, 5, 6]], np.float32), np.array([[True, False, True], [False, False, False]])
    )
    x = np.array([[1, 10], [2, 20], [3, 30]], np.float32)
    assert spmm_reference(a, x).tolist() == [[10, 100], [0, 0]]


def test_dropped_weight_ignores_nan() -> None:
    a = csr(np.ones((1, 2), np.float32), np.array([[True, False]]))
    x = np.array([[1.0], [np.nan]], np.float32)
    assert spmm(a, x).tolist() == [[1.0]]


def test_refusals() -> None:
    a = random_csr(2, 3, 0.5)
    with pytest.raises(FormatError, match=r"expected an operand of shape \[3, N\], got \[2, 2\]"):
        spmm(a, np.zeros((2, 2), np.float32))
    with pytest.raises(FormatError, match="expected columns below 3, got 7"):
        Csr(
            shape=(1, 3),
            values=np.ones(1, np.float32),
            row_start=np.array([0, 1], np.uint32),
            columns=np.array([7], np.uint32),
        )
    with pytest.raises(FormatError, match="row starts"):
        Csr(
            shape=(1, 3),
            values=np.ones(1, np.float32),
            row_start=np.array([0, 2], np.uint32),
            columns=np.array([1], np.uint32),
        )


@pytest.mark.skipif(not ISAS, reason="needs the native library")
def test_unknown_instruction_set() -> None:
    with pytest.raises(RuntimeFailure, match="got 'mmx'"):
        spmm(random_csr(2, 3, 0.5), np.zeros((3, 1), np.float32), isa="mmx")
