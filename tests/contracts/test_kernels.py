"""Every face of a native kernel against its NumPy reference and against dense float64, on every instruction set and odd shapes."""

import importlib
import json

import numpy as np
import pytest

from gossamer.kernels.csr import csr
from gossamer.kernels.native import status
from tests.contracts.table import KERNELS

ISAS = json.loads(status().module.build_info())["isas_available"] if status().available else []
SHAPES = (  # rows, columns, examples, density
    (1, 1, 1, 1.0),
    (7, 15, 3, 0.3),
    (7, 15, 3, 0.0),
    (33, 100, 17, 0.1),
    (16, 24, 130, 1.0),
    (5, 300, 259, 0.2),
)
CASES = [(name, dtype) for name, (_, dtypes) in KERNELS.items() for dtype in dtypes]


def arguments(
    name: str, dtype: str, shape: tuple[int, int, int, float]
) -> tuple[tuple[object, ...], np.ndarray]:
    """The call's arguments, and the result from the dense matrix in float64."""
    rows, columns, count, density = shape
    rng = np.random.default_rng(rows)
    mask = rng.random((rows, columns)) < density
    mask[rows // 2] = False
    weight = rng.standard_normal((rows, columns)).astype(dtype)
    dense = np.where(mask, weight, 0).astype(np.float64)
    x = rng.standard_normal((columns, count)).astype(dtype)
    if name == "spmm":
        return (csr(weight, mask), x), dense @ x.astype(np.float64)
    first = np.ascontiguousarray(x[:, 0])
    return (csr(weight, mask), first), dense @ first.astype(np.float64)


@pytest.mark.parametrize("isa", ISAS or [""])
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_equals_reference_and_dense(name: str, dtype: str, isa: str) -> None:
    module = importlib.import_module(f"gossamer.kernels.{KERNELS[name][0]}")
    face = getattr(module, name)
    reference = getattr(module, f"{name}_reference")
    for shape in SHAPES:
        given, want = arguments(name, dtype, shape)
        tolerance = (1e-5 if dtype == "float32" else 1e-13) * max(1.0, float(np.abs(want).max(initial=0)))
        for got in (face(*given, isa=isa), reference(*given)):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=str(shape))


@pytest.mark.parametrize("isa", ISAS or [""])
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_dropped_entry_contributes_nothing_against_nan(name: str, dtype: str, isa: str) -> None:
    """NaN against a column that keeps nothing; a kept one passes it on."""
    face = getattr(importlib.import_module(f"gossamer.kernels.{KERNELS[name][0]}"), name)
    mask = np.zeros((4, 40), bool)
    mask[1:3, 5:30] = True
    weight = np.ones(mask.shape, dtype)
    for bad, kept in ((35, False), (0, False), (7, True)):
        x = np.ones((40, 20), dtype)
        x[bad] = np.nan
        operand = x if name == "spmm" else np.ascontiguousarray(x[:, 0])
        got = face(csr(weight, mask), operand, isa=isa)
        assert bool(np.isnan(got).any()) == kept
