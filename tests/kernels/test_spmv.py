"""Native sparse times vector on every instruction set of this CPU against the reference, on odd shapes."""

import json

import numpy as np
import pytest

from gossamer.errors import FormatError
from gossamer.kernels.csr import csr
from gossamer.kernels.native import status
from gossamer.kernels.spmv import spmv, spmv_reference

ISAS = json.loads(status().module.build_info())["isas_available"] if status().available else []


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 15), (33, 100), (2, 70_000)])
def test_equals_reference(isa: str, density: float, rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    a = csr(rng.standard_normal((rows, columns)).astype(np.float32), rng.random((rows, columns)) < density)
    x = rng.standard_normal(columns).astype(np.float32)
    scale = np.sqrt(columns)
    np.testing.assert_allclose(spmv(a, x, isa=isa) / scale, spmv_reference(a, x) / scale, rtol=0, atol=1e-5)


def test_reference_by_hand() -> None:
    a = csr(np.array([[1, 2], [3, 4]], np.float32), np.array([[False, True], [True, True]]))
    assert spmv_reference(a, np.array([10, 1], np.float32)).tolist() == [2, 34]


def test_refusal() -> None:
    a = csr(np.ones((2, 2), np.float32), np.ones((2, 2), bool))
    with pytest.raises(FormatError, match=r"expected a vector of 2, got shape \[3\]"):
        spmv(a, np.zeros(3, np.float32))
