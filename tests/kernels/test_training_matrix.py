"""Sparse weights in training: every product against its reference and dense float64, on every instruction set, layout and block."""

import json

import numpy as np
import pytest
import torch

from gossamer.errors import FormatError, RuntimeFailure
from gossamer.kernels import training_matrix
from gossamer.kernels.native import status
from gossamer.kernels.training_matrix import TrainingMatrix

ISAS = json.loads(status().module.build_info())["isas_available"] if status().available else []
CASES = (  # rows, columns, block, examples, density
    (1, 1, (1, 1), 1, 1.0),
    (7, 15, (1, 1), 3, 0.3),
    (7, 15, (1, 1), 3, 0.0),
    (33, 100, (1, 1), 17, 0.1),
    (16, 24, (1, 1), 130, 1.0),
    (5, 1500, (1, 1), 32, 0.2),
    (1300, 5, (1, 1), 16, 0.5),
    (16, 24, (4, 1), 35, 0.4),
    (24, 9, (8, 1), 64, 0.4),
    (7, 12, (1, 4), 20, 0.5),
    (12, 9, (6, 3), 128, 0.5),
    (14, 6, (7, 2), 16, 0.6),
    (6, 70000, (1, 1), 5, 0.01),
    (8, 140000, (2, 2), 5, 0.01),
)


def places_of(mask: np.ndarray, block: tuple[int, int] = (1, 1)) -> tuple[TrainingMatrix, np.ndarray]:
    """The places of a mask of blocks [R / block rows, C / block columns], and the mask of the entries."""
    rows, columns = mask.shape
    starts = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.uint32)
    index = np.uint16 if columns <= 65536 else np.uint32
    found = TrainingMatrix(
        (rows * block[0], columns * block[1]), starts, np.nonzero(mask)[1].astype(index), block=block
    )
    return found, np.kron(mask, np.ones(block, bool)).astype(bool)


def flat_values(dense: np.ndarray, mask: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """By row of blocks, inside a block row-major."""
    rows, columns = mask.shape
    blocks = dense.reshape(rows, block[0], columns, block[1]).transpose(0, 2, 1, 3)
    return blocks[mask].reshape(-1)


def dense_of(values: np.ndarray, mask: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    rows, columns = mask.shape
    blocks = np.zeros((rows, columns, *block))
    blocks[mask] = values.reshape(-1, *block)
    return blocks.transpose(0, 2, 1, 3).reshape(rows * block[0], columns * block[1])


@pytest.fixture(params=["native", "reference"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "reference":
        monkeypatch.setattr(training_matrix, "operation", lambda name: None)
    elif not ISAS:
        pytest.skip("no native library")
    return str(request.param)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_products_equal_dense(
    engine: str, case: tuple[int, int, tuple[int, int], int, float], layout: str, dtype: str
) -> None:
    rows, columns, block, count, density = case
    rng = np.random.default_rng(rows)
    mask = rng.random((rows // block[0], columns // block[1])) < density
    mask[len(mask) // 2] = False
    places, _ = places_of(mask, block)
    dense = rng.standard_normal((rows, columns)).astype(dtype)
    kept = flat_values(dense, mask, block)
    values = np.concatenate([kept, np.full(3, np.nan, dtype)])  # capacity behind the kept ones
    bias = rng.standard_normal(rows).astype(dtype)
    x = np.asarray(rng.standard_normal((count, columns)).astype(dtype), order=layout)
    dy = np.asarray(rng.standard_normal((count, rows)).astype(dtype), order=layout)
    weight = dense_of(kept.astype(np.float64), mask, block)
    want_y = x.astype(np.float64) @ weight.T + bias
    want_dx = dy.astype(np.float64) @ weight
    want_gradient = flat_values(dy.astype(np.float64).T @ x.astype(np.float64), mask, block)
    for isa in ISAS if engine == "native" else [""]:
        for threads in (1, 3) if engine == "native" else (1,):
            found = {
                "y": (places.linear(values, x, bias=bias, threads=threads, isa=isa), want_y),
                "y without bias": (places.linear(values, x, threads=threads, isa=isa), want_y - bias),
            }
            dx, gradient = places.linear_backward(values, x, dy, need_dx=True, threads=threads, isa=isa)
            none, alone = places.linear_backward(values, x, dy, need_dx=False, threads=threads, isa=isa)
            assert dx is not None
            assert none is None
            assert gradient[len(kept) :].tolist() == alone[len(kept) :].tolist() == [0, 0, 0]
            found["dx"] = (dx, want_dx)
            found["gradient"] = (gradient[: len(kept)], want_gradient)
            found["gradient alone"] = (alone[: len(kept)], want_gradient)
            for name, (got, want) in found.items():
                scale = max(1.0, float(np.abs(want).max(initial=0)))
                tolerance = (1e-5 if dtype == "float32" else 1e-13) * scale
                assert got.dtype == dtype
                np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=f"{name} {isa}")
            assert dx.flags[f"{layout}_CONTIGUOUS"]
            assert found["y"][0].flags[f"{layout}_CONTIGUOUS"]


def test_a_dropped_entry_contributes_nothing_against_nan(engine: str) -> None:
    mask = np.zeros((4, 40), bool)
    mask[1:3, 5:30] = True
    places, _ = places_of(mask)
    values = np.ones(mask.sum(), np.float32)
    for bad, kept in ((35, False), (7, True)):
        x = np.ones((20, 40), np.float32)
        x[:, bad] = np.nan
        assert bool(np.isnan(places.linear(values, x)).any()) == kept
        dx, gradient = places.linear_backward(values, x, np.ones((20, 4), np.float32), need_dx=True)
        assert dx is not None
        assert not np.isnan(dx).any()
        assert bool(np.isnan(gradient).any()) == kept
    for bad, kept in ((3, False), (2, True)):
        dy = np.ones((20, 4), np.float32)
        dy[:, bad] = np.nan
        dx, gradient = places.linear_backward(values, np.ones((20, 40), np.float32), dy, need_dx=True)
        assert dx is not None
        assert bool(np.isnan(dx).any()) == bool(np.isnan(gradient).any()) == kept


@pytest.mark.skipif(not ISAS, reason="no native library")
def test_results_are_equal_for_every_number_of_threads_and_layout() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((1500, 1200)) < 0.05
    places, _ = places_of(mask)
    values = rng.standard_normal(mask.sum()).astype(np.float32)
    x = rng.standard_normal((200, 1200)).astype(np.float32)
    dy = rng.standard_normal((200, 1500)).astype(np.float32)
    y = places.linear(values, x)
    dx, gradient = places.linear_backward(values, x, dy, need_dx=True)
    for threads in (2, 3, 5):
        assert np.array_equal(places.linear(values, np.asfortranarray(x), threads=threads), y)
        for back in (dy, np.asfortranarray(dy)):
            again, also = places.linear_backward(values, x, back, need_dx=True, threads=threads)
            assert np.array_equal(again, dx)
            assert np.array_equal(also, gradient)


def test_a_result_may_be_given_and_strides_are_read_where_they_stand(engine: str) -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((6, 10)) < 0.5
    places, _ = places_of(mask)
    values = rng.standard_normal(mask.sum())
    wide = rng.standard_normal((18, 30))
    x = wide[::2, ::3]
    want = places.linear(values, np.ascontiguousarray(x))
    out = np.empty((6, 9)).T
    assert places.linear(values, x, out=out) is out
    np.testing.assert_allclose(out, want, atol=1e-13)
    dx, _ = places.linear_backward(values, x, want, need_dx=True, out=wide[::2, 1::3])
    np.testing.assert_allclose(wide[::2, 1::3], want @ dense_of(values, mask, (1, 1)), atol=1e-13)
    assert dx is not None


def test_a_linear_layer_equals_torch(engine: str) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((12, 20)) < 0.4
    weight = torch.tensor(np.where(mask, rng.standard_normal((12, 20)), 0), requires_grad=True)
    x = torch.randn(9, 20, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.linear(x, weight)
    dy = torch.randn(9, 12, dtype=torch.float64)
    y.backward(dy)
    places, _ = places_of(mask)
    values = weight.detach().numpy()[mask]
    np.testing.assert_allclose(places.linear(values, x.detach().numpy()), y.detach().numpy(), atol=1e-13)
    dx, gradient = places.linear_backward(values, x.detach().numpy(), dy.numpy(), need_dx=True)
    assert x.grad is not None
    assert weight.grad is not None
    np.testing.assert_allclose(dx, x.grad.numpy(), atol=1e-13)
    np.testing.assert_allclose(gradient, weight.grad.numpy()[mask], atol=1e-13)


def test_no_examples(engine: str) -> None:
    places, _ = places_of(np.ones((2, 3), bool))
    values = np.ones(6, np.float32)
    assert places.linear(values, np.empty((0, 3), np.float32)).shape == (0, 2)
    dx, gradient = places.linear_backward(
        values, np.empty((0, 3), np.float32), np.empty((0, 2), np.float32), need_dx=True
    )
    assert dx is not None
    assert dx.shape == (0, 3)
    assert gradient.tolist() == [0] * 6


@pytest.mark.skipif(not ISAS, reason="no native library")
def test_memory_of_the_places() -> None:
    """The rows' starts; the backward product adds 4 an entry and the columns' starts. The columns are the caller's."""
    mask = np.random.default_rng(0).random((256, 512)) < 0.1
    places, _ = places_of(mask)
    nnz = int(mask.sum())
    assert places.nbytes == 4 * 257
    values, x = np.ones(nnz, np.float32), np.ones((16, 512), np.float32)
    places.linear_backward(values, x, np.ones((16, 256), np.float32), need_dx=True)
    assert places.nbytes == 4 * 257 + 4 * nnz + 4 * (513 + 2)
    assert places.num_kept == nnz
    assert places.columns.dtype == np.uint16
    columns = np.array([1, 0, 2], np.uint16)
    assert np.shares_memory(TrainingMatrix((2, 3), np.array([0, 1, 3], np.uint32), columns).columns, columns)
    assert places.columns.tolist() == np.nonzero(mask)[1].tolist()
    assert not places.row_start.flags.writeable


REFUSALS: list[tuple[tuple[int, int], list[int], list[int], tuple[int, int], str]] = [
    ((3, 4), [0, 1, 1, 2], [1, 3], (2, 1), "expected a shape of whole blocks, got 3x4 in blocks of 2x1"),
    ((0, 4), [0], [], (1, 1), "expected a shape of whole blocks, got 0x4"),
    ((2, 4), [0, 2], [1, 3], (1, 1), "expected 3 row starts that ascend from 0 to 2, got 2"),
    ((2, 4), [0, 1, 1], [1, 3], (1, 1), "expected 3 row starts that ascend from 0 to 2, got others"),
    ((2, 4), [0, 3, 2], [1, 3], (1, 1), "expected 3 row starts that ascend from 0 to 2, got others"),
    ((2, 4), [1, 1, 2], [1, 3], (1, 1), "expected 3 row starts that ascend from 0 to 2, got others"),
    ((2, 4), [0, 1, 2], [1, 4], (1, 1), "expected columns below 4, got 4"),
    ((2, 4), [0, 0, 2], [3, 1], (1, 1), "columns that ascend inside a row, got 3 before 1 in row 1"),
    ((2, 4), [0, 0, 2], [3, 3], (1, 1), "columns that ascend inside a row, got 3 before 3 in row 1"),
]


@pytest.mark.parametrize(("shape", "starts", "columns", "block", "words"), REFUSALS)
def test_places_that_are_refused(
    engine: str,
    shape: tuple[int, int],
    starts: list[int],
    columns: list[int],
    block: tuple[int, int],
    words: str,
) -> None:
    with pytest.raises(FormatError, match=words):
        TrainingMatrix(shape, np.array(starts, np.uint32), np.array(columns, np.uint16), block=block)


def test_operands_that_are_refused(engine: str) -> None:
    places, _ = places_of(np.ones((2, 3), bool))
    ones, x, dy = np.ones(6, np.float32), np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    with pytest.raises(FormatError, match="expected uint16 or uint32 columns, got int64"):
        TrainingMatrix((1, 1), np.array([0, 1], np.uint32), np.array([0]))
    with pytest.raises(FormatError, match="expected flat uint32 row starts, got int64"):
        TrainingMatrix((1, 1), np.array([0, 1]), np.array([0], np.uint16))
    with pytest.raises(FormatError, match=r"expected x of shape \[N, 3\], got \[4, 2\]"):
        places.linear(ones, dy)
    with pytest.raises(FormatError, match=r"expected x of shape \[N, 3\], got \[5, 3\]"):
        places.linear_backward(ones, np.ones((5, 3), np.float32), dy, need_dx=True)
    with pytest.raises(FormatError, match=r"at least 6 values, got \[5\]"):
        places.linear(ones[:5], x)
    with pytest.raises(FormatError, match="all of one type, got float32, float64"):
        places.linear(ones, x.astype(np.float64))
    with pytest.raises(FormatError, match=r"expected a bias \[2\] of float32"):
        places.linear(ones, x, bias=np.ones(3, np.float32))
    with pytest.raises(FormatError, match=r"expected a writable result \[4, 2\] of float32"):
        places.linear(ones, x, out=np.ones((2, 4), np.float32))
    with pytest.raises(FormatError, match="expected at least 1 thread, got 0"):
        places.linear(ones, x, threads=0)


@pytest.mark.skipif(not ISAS, reason="no native library")
def test_an_unknown_instruction_set_is_refused() -> None:
    places, _ = places_of(np.ones((2, 3), bool))
    with pytest.raises(RuntimeFailure, match="got 'sse'"):
        places.linear(np.ones(6, np.float32), np.ones((4, 3), np.float32), isa="sse")
