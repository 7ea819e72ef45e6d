"""Sparse convolutions in training against torch float64: forward and both gradients, on every instruction set, layout and block."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gossamer.errors import FormatError
from gossamer.kernels import training_matrix
from gossamer.kernels.conv_geometry import ConvGeometry
from gossamer.kernels.native import status
from tests.kernels.test_training_matrix import flat_values, places_of

ISAS = json.loads(status().module.build_info())["isas_available"] if status().available else []
ONE = (1, 1)
# channels, height, width, outputs, geometry, block
CASES = (
    (3, 8, 5, 8, ConvGeometry(kernel=(3, 3), padding=ONE), ONE),
    (16, 28, 28, 16, ConvGeometry(kernel=(3, 3), padding=ONE), ONE),  # rectangles of 4 x 7 positions
    (4, 7, 9, 6, ConvGeometry(kernel=(3, 3), stride=(2, 2), padding=ONE), ONE),
    (4, 11, 7, 6, ConvGeometry(kernel=(3, 5), stride=(3, 2), padding=(0, 2), groups=2), ONE),
    (6, 9, 9, 6, ConvGeometry(kernel=(3, 3), padding=ONE, groups=6), ONE),  # depthwise
    (
        6,
        9,
        10,
        12,
        ConvGeometry(kernel=(3, 3), stride=(2, 1), padding=(2, 1), dilation=(2, 3), groups=3),
        ONE,
    ),
    (5, 6, 6, 7, ConvGeometry(kernel=ONE), ONE),
    (5, 7, 6, 7, ConvGeometry(kernel=ONE, stride=(2, 2)), ONE),  # pixels that no output reads
    (3, 6, 20, 4, ConvGeometry(kernel=ONE, padding=ONE), ONE),  # outputs in one run, inputs in rows
    (4, 5, 5, 3, ConvGeometry(kernel=(5, 5)), ONE),  # one output pixel
    (4, 4, 4, 3, ConvGeometry(kernel=(2, 2), stride=(3, 3), padding=(3, 3)), ONE),  # outputs of padding alone
    (90, 12, 16, 40, ConvGeometry(kernel=(3, 3), padding=ONE), ONE),  # several blocks of channels
    (24, 40, 30, 3, ConvGeometry(kernel=(3, 3), padding=ONE), ONE),  # several bands
    (4, 80, 60, 30, ConvGeometry(kernel=(3, 3), stride=(2, 2), padding=ONE), ONE),
    (20, 1, 1, 8, ConvGeometry(kernel=ONE), ONE),
    (8, 6, 6, 16, ConvGeometry(kernel=(3, 3), padding=ONE), (4, 1)),
    (8, 6, 6, 16, ConvGeometry(kernel=(3, 3), padding=ONE, groups=2), (8, 4)),
    (6, 6, 7, 6, ConvGeometry(kernel=(1, 3), padding=(0, 1)), (3, 2)),
)
BATCHES = (1, 19, 23)  # few images, a group of 16 and few images, groups of 16 of which one is filled up


@pytest.fixture(params=["native", "reference"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "reference":
        monkeypatch.setattr(training_matrix, "operation", lambda name: None)
    elif not ISAS:
        pytest.skip("no native library")
    return str(request.param)


def pixels_last(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def by_torch(
    weight: np.ndarray, geometry: ConvGeometry, x: np.ndarray, dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Result, dx and the gradient of the weight matrix, in float64."""
    filters = weight.astype(np.float64).reshape(len(weight), *geometry.kernel, -1).transpose(0, 3, 1, 2)
    tensor, kernel = (torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (x, filters))
    y = torch.nn.functional.conv2d(
        tensor, kernel, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
    )
    y.backward(torch.tensor(dy, dtype=torch.float64))
    assert tensor.grad is not None
    assert kernel.grad is not None
    gradient = kernel.grad.numpy().transpose(0, 2, 3, 1).reshape(weight.shape)
    return y.detach().numpy(), tensor.grad.numpy(), gradient


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_products_equal_torch(
    engine: str, case: tuple[int, int, int, int, ConvGeometry, tuple[int, int]], dtype: str
) -> None:
    channels, height, width, outputs, geometry, block = case
    rng = np.random.default_rng(outputs)
    columns = channels // geometry.groups * geometry.kernel[0] * geometry.kernel[1]
    mask = rng.random((outputs // block[0], columns // block[1])) < 0.3
    mask[len(mask) // 2] = False
    places, entries = places_of(mask, block)
    weight = np.where(entries, rng.standard_normal(entries.shape), 0).astype(dtype)
    kept = flat_values(weight, mask, block)
    values = np.concatenate([kept, np.full(3, np.nan, dtype)])  # capacity behind the kept ones
    size = geometry.output((height, width))
    for turn, batch in enumerate(BATCHES if engine == "native" else (2,)):
        x = rng.standard_normal((batch, channels, height, width)).astype(dtype)
        dy = rng.standard_normal((batch, outputs, *size)).astype(dtype)
        wanted = by_torch(weight, geometry, x, dy)
        want = dict(zip(("y", "dx", "gradient"), wanted, strict=True))
        want["gradient"] = flat_values(want["gradient"], mask, block)
        for isa in ISAS if engine == "native" else [""]:
            last = (turn + len(isa)) % 2 == 1
            given, back = (pixels_last(x), pixels_last(dy)) if last else (x, dy)
            threads = 1 + turn % 3
            y = places.conv(values, geometry, given, threads=threads, isa=isa)
            options = {"threads": threads, "isa": isa}
            dx, gradient = places.conv_backward(values, geometry, given, back, need_dx=True, **options)
            none, alone = places.conv_backward(values, geometry, given, back, need_dx=False, **options)
            assert dx is not None
            assert none is None
            assert gradient[len(kept) :].tolist() == alone[len(kept) :].tolist() == [0, 0, 0]
            for name, got in (("y", y), ("dx", dx), ("gradient", gradient), ("gradient", alone)):
                count = want[name].shape if name != "gradient" else (len(kept),)
                scale = max(1.0, float(np.abs(want[name]).max(initial=0)))
                tolerance = (1e-5 if dtype == "float32" else 1e-13) * scale
                assert got.dtype == dtype
                found = got[: len(kept)] if name == "gradient" else got
                assert found.shape == count
                np.testing.assert_allclose(
                    found, want[name], rtol=0, atol=tolerance, err_msg=f"{name} {isa} {batch}"
                )
            for got in (y, dx):
                assert (got.transpose(0, 2, 3, 1) if last else got).flags.c_contiguous


def test_values_by_hand(engine: str) -> None:
    """One image 1x3, kernel 1x2 with stride 1: y = [1 + 2 * 10, 2 + 3 * 10]."""
    places, _ = places_of(np.ones((1, 2), bool))
    geometry = ConvGeometry(kernel=(1, 2))
    values, x = np.array([1.0, 10.0]), np.array([[[[1.0, 2.0, 3.0]]]])
    assert places.conv(values, geometry, x).tolist() == [[[[21, 32]]]]
    dx, gradient = places.conv_backward(values, geometry, x, np.array([[[[1.0, 100.0]]]]), need_dx=True)
    assert dx is not None
    assert dx.tolist() == [[[[1, 110, 1000]]]]
    assert gradient.tolist() == [201, 302]


def test_a_dropped_entry_contributes_nothing_against_nan(engine: str) -> None:
    mask = np.zeros((4, 9 * 6), bool)
    mask[1:3, np.arange(54) % 6 < 4] = True  # channels 4 and 5 and outputs 0 and 3 keep nothing
    places, _ = places_of(mask)
    geometry, values = ConvGeometry(kernel=(3, 3), padding=ONE), np.ones(mask.sum(), np.float32)
    for bad, kept in ((5, False), (2, True)):
        x = np.ones((16, 6, 9, 9), np.float32)
        x[:, bad] = np.nan
        assert bool(np.isnan(places.conv(values, geometry, x)).any()) == kept
        dy = np.ones((16, 4, 9, 9), np.float32)
        dx, gradient = places.conv_backward(values, geometry, x, dy, need_dx=True)
        assert dx is not None
        assert not np.isnan(dx).any()
        assert bool(np.isnan(gradient).any()) == kept
    for bad, kept in ((3, False), (2, True)):
        dy = np.ones((16, 4, 9, 9), np.float32)
        dy[:, bad] = np.nan
        dx, gradient = places.conv_backward(
            values, geometry, np.ones((16, 6, 9, 9), np.float32), dy, need_dx=True
        )
        assert dx is not None
        assert bool(np.isnan(dx).any()) == bool(np.isnan(gradient).any()) == kept


@pytest.mark.skipif(not ISAS, reason="no native library")
@pytest.mark.parametrize("shape", [(37, 17, 15), (16, 5, 9), (2, 6, 6)])
def test_threads_change_nothing_but_the_order_of_sums(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((24, 9 * 20)) < 0.2
    places, _ = places_of(mask)
    geometry, values = ConvGeometry(kernel=(3, 3), padding=ONE), rng.standard_normal(mask.sum())
    x, dy = (rng.standard_normal((shape[0], channels, *shape[1:])) for channels in (20, 24))
    y = places.conv(values, geometry, x)
    dx, gradient = places.conv_backward(values, geometry, x, dy, need_dx=True)
    for threads in (2, 3, 7):
        found = [
            (
                places.conv(values, geometry, x, threads=threads),
                *places.conv_backward(values, geometry, x, dy, need_dx=True, threads=threads),
            )
            for _ in range(2)
        ]
        for first, second, alone in zip(*found, (y, dx, gradient), strict=True):
            assert np.array_equal(first, second)
            np.testing.assert_allclose(first, alone, atol=1e-11)


@pytest.mark.skipif(not ISAS or sys.platform != "linux", reason="native library, address space of Linux")
def test_scarce_memory_and_threads_are_errors_and_end_no_process() -> None:
    """Memory that one thread gets and the other one does not; then more threads than there is room for."""
    script = Path(__file__).with_name("scarce.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *errors, last = done.stdout.splitlines()
    assert any("expected memory for a product's tiles" in error for error in errors)
    assert sum("expected to start the threads of a product" in error for error in errors) == 2
    assert float(last) == 1  # and it goes on


def test_a_result_may_be_given_and_any_strides_are_read(engine: str) -> None:
    rng = np.random.default_rng(1)
    places, _ = places_of(rng.random((6, 4 * 9)) < 0.5)
    values, geometry = rng.standard_normal(places.num_kept), ConvGeometry(kernel=(3, 3), stride=(2, 2))
    wide = rng.standard_normal((5, 8, 18, 11))
    x = wide[:, ::2, ::2]
    want = places.conv(values, geometry, np.ascontiguousarray(x))
    out = np.empty((5, 4, 5, 6)).transpose(0, 3, 1, 2)
    assert places.conv(values, geometry, x, out=out) is out
    np.testing.assert_allclose(out, want, atol=1e-12)
    dx = np.empty(x.shape)
    found, _ = places.conv_backward(values, geometry, x, out, need_dx=True, out=dx)
    assert found is dx
    again, _ = places.conv_backward(values, geometry, x, want, need_dx=True)
    np.testing.assert_allclose(dx, again, atol=1e-12)
    assert places.conv(values, geometry, x[:0]).shape == (0, 6, 4, 5)
    none, gradient = places.conv_backward(values, geometry, x[:0], want[:0], need_dx=True)
    assert none is not None
    assert none.shape == (0, 4, 9, 11)
    assert gradient.tolist() == [0] * places.num_kept


def test_refusals(engine: str) -> None:
    places, _ = places_of(np.ones((4, 18), bool))
    ones, geometry = np.ones(72, np.float32), ConvGeometry(kernel=(3, 3))
    x = np.ones((2, 2, 5, 5), np.float32)
    with pytest.raises(FormatError, match="a kernel, stride, dilation and groups of at least 1"):
        ConvGeometry(kernel=(3, 3), stride=(0, 1))
    with pytest.raises(FormatError, match="padding of at least 0"):
        ConvGeometry(kernel=(3, 3), padding=(0, -1))
    with pytest.raises(FormatError, match="whole filters and groups, got a matrix 4x18"):
        places.conv(ones, ConvGeometry(kernel=(5, 1)), x)
    with pytest.raises(FormatError, match="whole filters and groups, got a matrix 4x18"):
        places.conv(ones, ConvGeometry(kernel=(3, 3), groups=3), x)
    with pytest.raises(FormatError, match=r"expected x of shape \[N, 4, H, W\], got \[2, 2, 5, 5\]"):
        places.conv(ones, ConvGeometry(kernel=(3, 3), groups=2), x)
    with pytest.raises(FormatError, match="images that the kernel fits into, got 5x2"):
        places.conv(ones, geometry, x[..., :2])
    with pytest.raises(FormatError, match=r"at least 72 values, got \[71\]"):
        places.conv(ones[1:], geometry, x)
    with pytest.raises(FormatError, match="all of one type, got float32, float64"):
        places.conv(ones, geometry, x.astype(np.float64))
    with pytest.raises(FormatError, match="expected at least 1 thread, got 0"):
        places.conv(ones, geometry, x, threads=0)
    with pytest.raises(
        FormatError, match=r"expected dy \[2, 4, 3, 3\] of float32, got float32 \[2, 4, 3, 2\]"
    ):
        places.conv_backward(ones, geometry, x, np.ones((2, 4, 3, 2), np.float32), need_dx=True)
    with pytest.raises(FormatError, match=r"expected a writable result \[2, 4, 3, 3\] of float32"):
        places.conv(ones, geometry, x, out=np.ones((2, 4, 3, 6), np.float32)[..., ::2])
