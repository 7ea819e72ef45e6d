"""Linear layers over one row: every format and precision of a file, through the native planner, against float64."""

import json

import numpy as np
import pytest
import torch

from gossamer.formats import for_pattern, pack, packed_file
from gossamer.formats.matrix import PackedMatrix
from gossamer.graph import Input, Manifest, Network, Node, Output
from gossamer.kernels.native import status
from gossamer.runtime import load
from gossamer.runtime.threads import usable_cpus
from gossamer.sparsity.patterns import nearest_count, parse_pattern

ISAS = json.loads(status().module.build_info())["isas_available"] if status().available else []
pytestmark = pytest.mark.skipif(not ISAS, reason="needs the native library")

# pattern, share kept, the kernel that its format asks for (bitmaps are for AVX-512 alone)
LINES = (
    ("unstructured", 0.1, "spmv"),
    ("unstructured", 0.5, "bitmap_spmv"),
    ("unstructured", 0.9, "bitmap_spmv"),
    ("unstructured", 1.0, "dense_gemv"),
    ("unstructured", 0.0, "spmv"),
    ("gs:8,1", 0.2, "gs_spmv"),
    ("gs:8,2", 0.2, "gs_spmv"),
    ("gs:8,4", 0.2, "gs_spmv"),
    ("gs:8,8", 0.2, "gs_spmv"),
    ("gs:4,1", 0.2, "spmv"),
    ("window:8", 0.125, "window_spmv"),
    ("2:4", 0.5, "window_spmv"),
    ("1:8", 0.125, "window_spmv"),
    ("1:16", 0.0625, "spmv"),
    ("block:8x1", 0.1, "block8_spmv"),
    ("block:16x1", 0.1, "block8_spmv"),
    ("block:4x1", 0.1, "block4_spmv"),
    ("block:8x2", 0.1, "block8_spmv"),
    ("block:1x4", 0.1, "spmv"),
    ("dense", 1.0, "dense_gemv"),
    ("dense", 0.5, "bitmap_spmv"),
)
SHAPES = (
    (48, 80),
    (16, 2064),
    (32, 65_600),
)  # two and three: wide columns of horizontal bundles, windows; of all


def file_of(packed: PackedMatrix, bias: np.ndarray, shape: tuple[int, int], batch: int) -> bytes:
    node = Node(
        op="linear", name="layer", inputs=("x",), outputs=("y",), weights={"weight": "w", "bias": "b"}
    )
    network = Network(
        name="layer",
        inputs=(Input(name="x", shape=(batch, shape[1])),),
        outputs=(Output(name="y", value="y"),),
        nodes=(node,),
    )
    weights = {"w": packed, "b": pack(bias, None, format="dense", dtype="float32")}
    return packed_file.to_bytes(Manifest(network=network, library="test"), weights)


def layer(
    pattern: str, kept: float, shape: tuple[int, int], dtype: str, batch: int = 1, *, quantized: bool = False
) -> tuple[bytes, np.ndarray, np.ndarray, np.ndarray]:
    """The file, and weight, mask and bias as it stores them."""
    rng = np.random.default_rng(3)
    weight = (rng.standard_normal(shape) / 4).astype(dtype).astype(np.float32)
    if quantized:
        weight = rng.integers(-127, 128, shape).astype(np.float32)
        weight *= rng.random((shape[0], 1), np.float32) + np.float32(0.01)
    mask = np.ones(shape, bool)
    if pattern == "dense":
        mask = rng.random(shape) < kept
        packed = pack(weight, mask, format="dense", dtype=dtype)
    else:
        chosen = parse_pattern(pattern)
        count = nearest_count(chosen.counts(shape), kept * weight.size)
        mask = chosen.mask(torch.rand(shape, generator=torch.Generator().manual_seed(1)), count).numpy()
        form, parameters = for_pattern(pattern)
        packed = pack(weight * mask, mask, format=form, dtype=dtype, **parameters)
    bias = rng.standard_normal(shape[0]).astype(np.float32)
    return file_of(packed, bias, shape, batch), weight, mask, bias


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("pattern", "kept", "kernel"), LINES)
def test_equals_float64(pattern: str, kept: float, kernel: str, dtype: str) -> None:
    for shape in SHAPES[:2] if pattern != "gs:8,1" else SHAPES:
        data, weight, mask, bias = layer(pattern, kept, shape, dtype)
        x = np.random.default_rng(5).standard_normal((1, shape[1])).astype(np.float32)
        want = (weight.astype(np.float64) * mask) @ x[0] + bias
        for isa in ISAS:
            results = []
            for threads in (1, min(2, usable_cpus())):
                session = load(data, threads=threads, isa=isa)
                row = session.layers()[0]
                bitmap = kernel == "bitmap_spmv" and isa != "avx512"
                assert row["kernel"] == ("spmv" if bitmap else kernel), row
                results.append(session.run(x)["y"][0])
                np.testing.assert_allclose(results[-1], want, rtol=0, atol=1e-5 * np.abs(want).max())
            np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("pattern", "kept", "kernel"), LINES)
def test_a_dropped_weight_counts_nothing_against_nan(pattern: str, kept: float, kernel: str) -> None:
    data, weight, mask, bias = layer(pattern, kept, SHAPES[0], "float32")
    for bad in (np.nan, np.inf):
        x = np.ones((1, SHAPES[0][1]), np.float32)
        x[0, 7] = bad
        want = (weight * mask)[:, np.arange(weight.shape[1]) != 7].astype(np.float64).sum(axis=1) + bias
        for isa in ISAS:
            y = load(data, isa=isa).run(x)["y"][0]
            kept_there = mask[:, 7]
            assert not np.isfinite(y[kept_there]).any()
            np.testing.assert_allclose(y[~kept_there], want[~kept_there], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("pattern", "kept", "kernel"), LINES)
def test_small_batches(pattern: str, kept: float, kernel: str, dtype: str) -> None:
    for batch in (2, 3, 4, 5, 8, 9):
        data, weight, mask, bias = layer(pattern, kept, SHAPES[0], dtype, batch)
        x = np.random.default_rng(5).standard_normal((batch, SHAPES[0][1])).astype(np.float32)
        want = x.astype(np.float64) @ (weight.astype(np.float64) * mask).T + bias
        for isa in ISAS:
            for threads in (1, min(2, usable_cpus())):
                y = load(data, threads=threads, isa=isa).run(x)["y"]
                np.testing.assert_allclose(y, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_blocks_of_quantized_rows_lie_in_bytes() -> None:
    data, weight, mask, bias = layer("block:8x1", 0.5, SHAPES[0], "float32", quantized=True)
    x = np.random.default_rng(5).standard_normal((1, SHAPES[0][1])).astype(np.float32)
    want = (weight.astype(np.float64) * mask) @ x[0] + bias
    for isa in ISAS:
        np.testing.assert_allclose(load(data, isa=isa).run(x)["y"][0], want, rtol=1e-5, atol=1e-3)
    scale = np.float32(0.03125)
    rows = np.full(SHAPES[0], scale * 127, np.float32)
    rows[:, 1::2] = scale * np.arange(-20, 20, dtype=np.float32)
    data = file_of(
        pack(rows * mask, mask, format="block", dtype="float32", rows=8, columns=1), bias, SHAPES[0], 1
    )
    for isa in ISAS:
        session = load(data, isa=isa)
        assert "eight-bit values with a scale a row" in session.layers()[0]["reason"]
        want = (rows.astype(np.float64) * mask) @ x[0] + bias
        np.testing.assert_allclose(session.run(x)["y"][0], want, rtol=1e-5, atol=1e-4)


def test_the_reason_tells_precision_and_gather() -> None:
    data, *_ = layer("gs:8,1", 0.2, SHAPES[0], "float16")
    reason = load(data).layers()[0]["reason"]
    assert "gather-scatter bundles of eight, 1 a row; half precision in memory" in reason
    if ISAS[0] in {"avx2", "avx512"}:
        assert "(probed)" in reason
