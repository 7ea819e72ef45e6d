"""Tuned plans through Python: the same answers, reasons with times, the cache, pinning; dropped weights against NaN as in torch."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from gossamer.formats import pack, packed_file
from gossamer.formats.matrix import PackedMatrix
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output
from gossamer.kernels.native import status
from gossamer.runtime import load
from gossamer.runtime.__main__ import main
from gossamer.runtime.threads import usable_cpus

ISAS = json.loads(status().module.build_info())["isas_available"] if status().available else []
pytestmark = pytest.mark.skipif(not ISAS, reason="needs the native library")

COLUMNS = (3, 3, 5)  # taps of the convolution and its input channels


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GOSSAMER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def masked(outputs: int, columns: int, density: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(outputs + columns)
    return rng.standard_normal((outputs, columns), dtype=np.float32), rng.random((outputs, columns)) < density


def one_layer(node: Node, shape: tuple[int, ...], weight: PackedMatrix) -> bytes:
    network = Network(
        name="one",
        inputs=(Input(name="x", shape=shape),),
        outputs=(Output(name="y", value="y"),),
        nodes=(node,),
    )
    return packed_file.to_bytes(Manifest(network=network, library="test"), {"w": weight})


def convolution(stride: int, density: float) -> tuple[bytes, np.ndarray, np.ndarray]:
    matrix, mask = masked(12, math.prod(COLUMNS), density)
    node = Node(
        op="conv2d",
        name="layer",
        inputs=("x",),
        outputs=("y",),
        attributes={
            "kernel": [3, 3],
            "stride": [stride, stride],
            "padding": [1, 1, 1, 1],
            "dilation": [1, 1],
            "groups": 1,
        },
        weights={"weight": "w"},
    )
    packed = pack(matrix * mask, mask, format="unstructured", dtype="float32")
    return one_layer(node, (1, 5, 9, 11), packed), matrix, mask


def linear(rows: tuple[int, ...], density: float) -> tuple[bytes, np.ndarray, np.ndarray]:
    matrix, mask = masked(17, 23, density)
    node = Node(op="linear", name="layer", inputs=("x",), outputs=("y",), weights={"weight": "w"})
    packed = pack(matrix * mask, mask, format="unstructured", dtype="float32")
    return one_layer(node, (*rows, 23), packed), matrix, mask


def without_dropped(matrix: np.ndarray, mask: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    """x [..., columns] -> [..., rows] in float64 by torch, each row from its kept columns only."""
    weight = torch.from_numpy(matrix).double()
    kept = torch.from_numpy(mask)
    return torch.stack(
        [x.double()[..., keep] @ row[keep] for row, keep in zip(weight, kept, strict=True)], dim=-1
    )


def same(got: np.ndarray, want: torch.Tensor) -> None:
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-4, equal_nan=True)


BAD = (float("nan"), float("inf"), -float("inf"))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("stride", [1, 2])
def test_dropped_weights_of_convolutions_count_nothing(isa, stride, threads):
    if threads > usable_cpus():
        pytest.skip("needs two CPUs")
    file, matrix, mask = convolution(stride, 0.97)
    session = load(file, threads=threads, isa=isa)
    # portable code multiplies nearly as slowly dense as sparse
    assert session.layers()[0]["kernel"] == ("spmm" if isa == "portable" else "dense_conv")
    for number, bad in enumerate(BAD):
        x = torch.randn(1, 5, 9, 11, generator=torch.Generator().manual_seed(number))
        x[0, number, 4, 10 - number] = bad
        x[0, 4, 0, 0] = bad
        # taps beside the image do not exist: unfold's zeros meet finite weights only
        columns = functional.unfold(x, 3, padding=1, stride=stride)
        columns = columns.reshape(1, 5, 9, -1).permute(0, 3, 2, 1).flatten(2)
        height, width = (9 - 1) // stride + 1, (11 - 1) // stride + 1
        want = without_dropped(matrix, mask, columns).transpose(1, 2).reshape(1, 12, height, width)
        assert want.isfinite().any()
        assert not want.isfinite().all()
        same(session(x.numpy()), want)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows", [(1,), (3,), (30,), (1, 19), (2, 19)])
def test_dropped_weights_of_linear_layers_count_nothing(isa, rows, threads):
    if threads > usable_cpus():
        pytest.skip("needs two CPUs")
    file, matrix, mask = linear(rows, 0.97)
    session = load(file, threads=threads, isa=isa)
    for number, bad in enumerate(BAD):
        x = torch.randn(*rows, 23, generator=torch.Generator().manual_seed(number))
        x.view(-1, 23)[-1, ~mask[number]] = bad  # a row whose dropped weights it meets: finite
        x.view(-1, 23)[0, number] = bad
        same(session(x.numpy()), without_dropped(matrix, mask, x))


@pytest.mark.parametrize("isa", ISAS)
def test_a_tuned_plan_answers_like_an_untuned_one(isa, cache):
    for density in (0.1, 0.6, 0.95):
        for file, shape in (
            (convolution(1, density)[0], (1, 5, 9, 11)),
            (convolution(2, density)[0], (1, 5, 9, 11)),
            (linear((1,), density)[0], (1, 23)),
            (linear((17,), density)[0], (17, 23)),
            (linear((2, 19), density)[0], (2, 19, 23)),
        ):
            x = np.random.default_rng(3).standard_normal(shape, dtype=np.float32)
            plain, tuned, again = (
                load(file, isa=isa),
                load(file, isa=isa, tune=True),
                load(file, isa=isa, tune=True),
            )
            np.testing.assert_allclose(tuned(x), plain(x), rtol=1e-4, atol=1e-5)
            assert np.array_equal(tuned(x), again(x))
            assert "measured" not in plain.layers()[0]["reason"]
            assert "measured" in tuned.layers()[0]["reason"]
            assert "measured before (cache): " in again.layers()[0]["reason"]
            assert tuned.describe()["remarks"] == []
    (found,) = cache.iterdir()
    assert found.read_text().startswith("gossamer choices 1\ncpu ")


def recurrent(op: str, gates: int, hidden: int, inputs: int) -> bytes:
    weights = {}
    for role, columns, density in (("input", inputs, 0.6), ("hidden", hidden, 0.02)):
        matrix, mask = masked(gates * hidden, columns, density)
        weights[role] = pack(matrix * mask * 0.1, mask, format="unstructured", dtype="float32")
    node = Node(
        op=op,
        name="layer",
        inputs=("x",),
        outputs=("y", "h", "c") if op == "lstm" else ("y", "h"),
        attributes={"reverse": False},
        weights={"input": "input", "hidden": "hidden"},
    )
    network = Network(
        name="one",
        dims={"n": FreeDim(min=1, max=5), "s": FreeDim(min=1, max=20)},
        inputs=(Input(name="x", shape=("n", "s", inputs)),),
        outputs=(Output(name="y", value="y"),),
        nodes=(node,),
    )
    return packed_file.to_bytes(Manifest(network=network, library="test"), weights)


@pytest.mark.parametrize(("op", "gates"), [("lstm", 4), ("gru", 3)])
def test_recurrent_layers_are_tuned(op, gates, cache):
    """The product with x by rows of lanes, that with h by the kernels of one vector."""
    inputs = 10
    file = recurrent(op, gates, 256, inputs)
    for isa in ISAS:
        tuned, plain = load(file, isa=isa, tune=True), load(file, isa=isa)
        assert tuned.layers()[0]["reason"].count("measured") == 2
        for batch, length in ((1, 20), (5, 3)):
            x = np.random.default_rng(9).standard_normal((batch, length, inputs), dtype=np.float32)
            np.testing.assert_allclose(tuned(x), plain(x), rtol=1e-4, atol=1e-5)


def test_a_product_is_measured_anew_in_another_kind_of_layer(cache):
    """Times of a linear layer say nothing of a recurrent one with the same matrix, which has other work around it."""
    matrix, mask = masked(1024, 256, 0.02)
    node = Node(op="linear", name="layer", inputs=("x",), outputs=("y",), weights={"weight": "w"})
    weight = pack(matrix * mask, mask, format="unstructured", dtype="float32")
    assert "measured: " in load(one_layer(node, (1, 256), weight), tune=True).layers()[0]["reason"]
    file = recurrent("lstm", 4, 256, 10)
    assert "measured before" not in load(file, tune=True).layers()[0]["reason"]
    assert load(file, tune=True).layers()[0]["reason"].count("measured before") == 2


# In a fresh process: by how many bytes it grows with a tuned session, and the bytes of its weights.
GROWTH = """
import sys
from pathlib import Path
from gossamer.runtime import load

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

before = resident()
session = load(sys.argv[1], tune=True)
print(resident() - before, session.describe()["weight_bytes"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_tried_leaves_no_memory(cache, tmp_path):
    """Every layer keeps the weights of one candidate, of four or five that were packed."""
    weights, nodes = {}, []
    attributes = {"kernel": [3, 3], "stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1], "groups": 1}
    for number in range(8):
        matrix, mask = masked(256, 2304, 0.3 + number / 100)  # each is measured anew
        weights[f"w{number}"] = pack(matrix * mask * 0.01, mask, format="unstructured", dtype="float32")
        nodes.append(
            Node(
                op="conv2d",
                name=f"layer{number}",
                inputs=(f"y{number - 1}" if number else "x",),
                outputs=(f"y{number}",),
                attributes=attributes,
                weights={"weight": f"w{number}"},
            )
        )
    network = Network(
        name="many",
        inputs=(Input(name="x", shape=(1, 256, 14, 14)),),
        outputs=(Output(name="y", value="y7"),),
        nodes=tuple(nodes),
    )
    file = packed_file.to_bytes(Manifest(network=network, library="test"), weights)
    (tmp_path / "many.safetensors").write_bytes(file)
    command = [sys.executable, "-c", GROWTH, str(tmp_path / "many.safetensors")]
    grown, stored = map(
        int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    )
    assert (
        grown < 4 * stored
    )  # with the file and the heap's rest; all candidates together: almost seven times


def test_a_cache_that_cannot_be_used_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GOSSAMER_CACHE_DIR", str(tmp_path / "file" / "below"))
    session = load(linear((17,), 0.5)[0], tune=True)
    (remark,) = session.describe()["remarks"]
    assert "not written" in remark
    assert "measured: " in session.layers()[0]["reason"]


def test_threads_may_be_pinned(cache):
    threads = min(2, usable_cpus())
    x = np.ones((17, 23), dtype=np.float32)
    file = linear((17,), 0.5)[0]
    assert np.array_equal(load(file, threads=threads, pin=True)(x), load(file, threads=threads)(x))


def test_the_small_command_takes_both(cache, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(linear((17,), 0.5)[0])
    np.save(tmp_path / "x.npy", np.ones((17, 23), dtype=np.float32))
    arguments = [str(tmp_path / name) for name in ("net.safetensors", "x.npy", "y.npy")]
    assert main([*arguments, "--tune", "--pin"]) == 0
    assert np.load(tmp_path / "y.npy").shape == (17, 17)
    assert len(list(cache.iterdir())) == 1
