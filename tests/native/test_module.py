"""The Python module of the native runtime: arguments, errors, lifetimes, threads."""

import ast
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from gossamer.formats import packed_file
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output

_native = pytest.importorskip("gossamer._native")
pytestmark = pytest.mark.native

WEIGHT = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)


def packed(*, batch: int | str = "n") -> bytes:
    """x [n, 3] -> linear -> y [n, 2] -> relu -> z; n from 2 to 5."""
    nodes = (
        Node(op="linear", name="fc", inputs=("x",), outputs=("y",), weights={"weight": "w"}),
        Node(op="relu", name="act", inputs=("y",), outputs=("z",)),
    )
    network = Network(
        name="tiny",
        dims={"n": FreeDim(min=2, max=5)} if batch == "n" else {},
        inputs=(Input(name="x", shape=(batch, 3)),),
        outputs=(Output(name="z", value="z"), Output(name="y", value="y")),
        nodes=nodes,
    )
    return packed_file.to_bytes(Manifest(network=network, labels=("ä", "b")), {"w": WEIGHT})


@pytest.fixture
def session():
    return _native.Session(_native.File(packed()))


def kind_of(name: str) -> int:
    return _native.KINDS[name]


def test_outputs_are_those_of_the_network(session):
    x = np.array([[1, 0, 0], [0, -1, 1]], dtype=np.float32)
    z, y = session.run([x], 2)
    np.testing.assert_array_equal(y, [[1, 4], [1, 1]])
    np.testing.assert_array_equal(z, [[1, 4], [1, 1]])
    assert z.dtype == np.float32
    assert z.flags.c_contiguous
    assert z.flags.writeable


def test_shapes_follow_the_batch(session):
    assert session.input_shapes(4) == [[4, 3]]
    assert session.output_shapes(4) == [[4, 2], [4, 2]]


def test_a_fixed_batch_ignores_the_argument():
    session = _native.Session(_native.File(packed(batch=3)))
    assert session.input_shapes(0) == session.input_shapes(99) == [[3, 3]]
    assert session.run([np.ones((3, 3), np.float32)], -1)[0].shape == (3, 2)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda raw: np.frombuffer(raw, np.uint8)])
def test_files_come_from_any_buffer(wrap):
    manifest = json.loads(_native.File(wrap(packed())).manifest)
    assert manifest["labels"] == ["ä", "b"]


def test_files_come_from_paths(tmp_path):
    path = tmp_path / "né.gsm"
    path.write_bytes(packed())
    assert _native.File(path).manifest == _native.File(str(path)).manifest == _native.File(packed()).manifest


def test_a_file_that_shrinks_after_opening_does_no_harm(tmp_path):
    path = tmp_path / "file.gsm"
    path.write_bytes(packed())
    file = _native.File(path)
    path.write_bytes(b"")
    session = _native.Session(file)
    np.testing.assert_array_equal(session.run([np.eye(3, dtype=np.float32)], 3)[1], WEIGHT.T)


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("/nonexistent.gsm", "io", "expected a readable packed file, got '/nonexistent.gsm': No such file"),
        ("/", "io", "expected a regular file"),
        (b"", "format", "at least 8 bytes"),
        (b"\x80\x02}q\x01", "format", "expected a packed file"),
        (packed()[:-1], "format", "truncated"),
        (packed().replace(b"relu", b"rely"), "format", "manifest: expected CRC-32"),
    ],
)
def test_malformed_files_raise_a_named_error(source, kind, message):
    with pytest.raises(_native.Error, match=message) as caught:
        _native.File(source)
    assert caught.value.kind == kind_of(kind)
    assert caught.value.message == str(caught.value)


@pytest.mark.parametrize("source", [None, 7, 1.5, [], {}])
def test_other_sources_are_type_errors(source):
    with pytest.raises(TypeError):
        _native.File(source)


def test_a_path_with_nul_is_refused():
    with pytest.raises(ValueError, match="null"):
        _native.File("a\0b")


X = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("inputs", "batch", "message"),
    [
        ([X], 1, "expected a batch from 2 to 5, got 1"),
        ([X], 6, "expected a batch from 2 to 5, got 6"),
        ([X], 3, r"input 0: expected shape \[3, 3\], got \[2, 3\]"),
        ([X.T], 2, "expected a C-contiguous float32 array"),
        ([X.astype(np.float64)], 2, "expected a C-contiguous float32 array"),
        ([X[:, ::-1]], 2, "expected a C-contiguous float32 array"),
        ([X.reshape(2, 3, 1)], 2, r"got \[2, 3, 1\]"),
        ([X.ravel()], 2, r"got \[6\]"),
        ([], 2, "expected 1 inputs, got 0"),
        ([X, X], 2, "expected 1 inputs, got 2"),
        ([None], 2, "expected an array for every input that is no state"),
    ],
)
def test_wrong_inputs_are_refused(session, inputs, batch, message):
    for call in (session.run, session.profile):
        with pytest.raises(_native.Error, match=message) as caught:
            call(inputs, batch)
        assert caught.value.kind == kind_of("argument")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"threads": 0}, "argument", "expected threads from 1 to 256, got 0"),
        ({"max_batch": -1}, "argument", "expected max_batch >= 0"),
        ({"max_batch": 1}, "argument", "expected max_batch from 2 to 5"),
        ({"max_batch": 6}, "argument", "expected max_batch from 2 to 5"),
        ({"isa": "sse9"}, None, "sse9"),
        ({"max_bytes": 1}, "memory", "bytes"),
    ],
)
def test_impossible_plans_are_refused(options, kind, message):
    with pytest.raises(_native.Error, match=message) as caught:
        _native.Session(_native.File(packed()), **options)
    if kind is not None:
        assert caught.value.kind == kind_of(kind)


def test_max_batch_bounds_the_batch():
    session = _native.Session(_native.File(packed()), max_batch=3)
    with pytest.raises(_native.Error, match="expected a batch from 2 to 3, got 4"):
        session.run([np.ones((4, 3), np.float32)], 4)


def test_read_only_inputs_are_taken(session):
    x = np.ones((2, 3), np.float32)
    x.flags.writeable = False
    assert session.run([x], 2)[0][0, 0] == 6


def test_outputs_outlive_session_and_file():
    outputs = _native.Session(_native.File(packed())).run([np.eye(3, dtype=np.float32)], 3)
    np.testing.assert_array_equal(outputs[1], WEIGHT.T)


def test_describe_and_profile(session):
    assert all(row["seconds"] == 0 for row in json.loads(session.describe())["layers"])
    session.profile([X], 2)
    described = json.loads(session.describe())
    assert [row["name"] for row in described["layers"]] == ["fc", "act"]
    assert described["threads"] == 1
    assert described["isa"] == json.loads(_native.build_info())["isa"]
    assert sum(row["seconds"] for row in described["layers"]) > 0


def test_every_available_instruction_set_computes_the_same_here():
    # 1..6 times 0 or 1: every order of addition gives the same
    for isa in json.loads(_native.build_info())["isas_available"]:
        session = _native.Session(_native.File(packed()), isa=isa)
        np.testing.assert_array_equal(session.run([np.eye(3, dtype=np.float32)], 3)[1], WEIGHT.T)
        assert json.loads(session.describe())["isa"] == isa


def test_threads_may_share_a_session(session):
    wrong: list[object] = []

    def work(scale: int) -> None:
        x = scale * np.eye(3, dtype=np.float32)
        for _ in range(200):
            y = session.run([x], 3)[1]
            if not (y == scale * WEIGHT.T).all():
                wrong.append(y)

    threads = [threading.Thread(target=work, args=(scale,)) for scale in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nothing_leaks_at_exit():
    code = (
        "import sys, numpy as np\n"
        "from gossamer import _native\n"
        "raw = sys.stdin.buffer.read()\n"
        "session = _native.Session(_native.File(raw))\n"
        "out = session.run([np.ones((2, 3), np.float32)], 2)\n"
        "try: _native.File(b'x')\n"
        "except _native.Error as error: kept = error\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=packed(), capture_output=True, check=True)
    assert done.stderr == b""


def test_the_stub_names_what_the_module_has():
    assert _native.__file__ is not None
    stub = ast.parse((Path(_native.__file__).parent / "_native.pyi").read_text())
    names = {node.name for node in stub.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    names |= {
        node.target.id
        for node in stub.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert names == {name for name in dir(_native) if not name.startswith("_")}
    for node in stub.body:
        if isinstance(node, ast.ClassDef) and node.name != "Error":
            methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)} - {"__init__"}
            assert methods == {name for name in dir(getattr(_native, node.name)) if not name.startswith("_")}
