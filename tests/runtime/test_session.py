"""The session's face: inputs checked, engines alike, no torch loaded."""

import re
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gossamer.errors import FileError, FormatError, GraphError, RuntimeFailure
from gossamer.formats import PackedMatrix, packed_file
from gossamer.graph import FreeDim, ImagePreprocessing, Input, Manifest, Network, Node, Output
from gossamer.kernels import native
from gossamer.runtime import load, session
from gossamer.runtime.threads import usable_cpus

FILE = Path(__file__).parents[1] / "data" / "packed" / "version_1.safetensors"
IMAGE = np.load(FILE.with_name("version_1_input.npy"))
ENGINES = ["reference", pytest.param("native", marks=pytest.mark.native)]


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    if request.param == "native" and not native.status().available:
        pytest.skip(native.status().reason)
    return request.param


def two_inputs() -> bytes:
    network = Network(
        name="two",
        dims={"n": FreeDim(min=2, max=4)},
        inputs=(Input(name="a", shape=("n", 3)), Input(name="b", shape=("n", 3))),
        outputs=(Output(name="sum", value="s"),),
        nodes=(Node(op="add", name="add", inputs=("a", "b"), outputs=("s",)),),
    )
    return packed_file.to_bytes(Manifest(network=network), {})


def test_facts(engine):
    found = load(FILE, engine=engine)
    assert found.engine == engine
    assert found.labels == ("a", "b", "c", "d", "é")
    assert found.preprocessing == ImagePreprocessing(size=(8, 8), channels=1, mean=(0.5,), std=(0.25,))
    assert [(item.name, item.shape) for item in found.inputs] == [("image", ("n", 1, 8, 8))]
    assert [item.name for item in found.outputs] == ["probabilities", "features"]
    assert found.manifest["weights"]["mix.weight"]["format"] == "block"


def test_preprocessing_that_fits_no_input(engine):
    block = ImagePreprocessing(size=(65536, 65536), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    network = packed_file.read(two_inputs()).manifest.network
    found = load(
        packed_file.to_bytes(Manifest(network=network, preprocessing=block.to_json()), {}), engine=engine
    )
    with pytest.raises(
        GraphError, match=r"preprocessing: expected the shape of an input, .*got \[3, 65536, 65536\]"
    ):
        _ = found.preprocessing


def test_run_by_name_and_by_position(engine):
    found = load(FILE, engine=engine)
    by_name = found.run({"image": IMAGE})
    assert np.array_equal(by_name["probabilities"], found(IMAGE)["probabilities"])
    both = load(two_inputs(), engine=engine)
    assert np.array_equal(
        both({"b": np.ones((2, 3), np.float32), "a": np.eye(2, 3, dtype=np.float32)})[0], [2, 1, 1]
    )


def test_strided_input(engine):
    found = load(FILE, engine=engine)
    strided = np.asfortranarray(np.repeat(IMAGE, 2, axis=3))[..., ::2]
    assert not strided.flags.c_contiguous
    assert np.array_equal(found(strided)["features"], found(IMAGE)["features"])


def test_layers_and_profile(engine):
    found = load(FILE, engine=engine)
    rows = {row["name"]: row for row in found.layers()}
    assert rows["stem"]["macs"] == rows["stem"]["macs_dense"] == 8 * 9 * 64
    assert rows["head"]["num_kept"] == 100
    assert rows["head"]["num_weights"] == 200
    timed = found.profile(IMAGE, repeats=2)
    assert [row["name"] for row in timed] == list(rows)
    assert all(row["milliseconds"] == row["seconds"] * 1e3 >= 0 for row in timed)


REFUSALS = {
    "float64": (IMAGE.astype(np.float64), r"expected float32, got float64; convert it with x.astype"),
    "bytes": (IMAGE.astype(np.uint8), "expected float32, got uint8"),
    "list": ([[1, 2]], "expected float32, got int64"),
    "shape": (IMAGE[:, :, :7], r"expected the shape \[n, 1, 8, 8\], got \[3, 1, 7, 8\]"),
    "rank": (IMAGE[0], "expected the shape"),
    "no batch": (IMAGE[:0], "expected n from 1 to 16, got 0"),
    "large batch": (np.repeat(IMAGE, 6, axis=0), "expected n from 1 to 16, got 18"),
    "name": ({"picture": IMAGE}, r"expected the names \['image'\], got \['picture'\]"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(engine, case: str):
    given, sentence = REFUSALS[case]
    with pytest.raises(RuntimeFailure, match=sentence):
        load(FILE, engine=engine).run(given)


def test_refusals_of_two_inputs(engine):
    both = load(two_inputs(), engine=engine, max_batch=3)
    ones = np.ones((4, 3), np.float32)
    with pytest.raises(RuntimeFailure, match=r"dict of 2 arrays \(a, b\)"):
        both.run(ones)
    with pytest.raises(RuntimeFailure, match="n = 2 like 'a', got 3"):
        both.run({"a": ones[:2], "b": ones[:3]})
    with pytest.raises(RuntimeFailure, match=r"from 2 to 3 .*max_batch=3"):
        both.run({"a": ones, "b": ones})


@pytest.mark.parametrize("max_batch", [1, 5])
def test_max_batch_outside_the_range(engine, max_batch):
    with pytest.raises(RuntimeFailure, match=r"expected max_batch from 2 to 4|max_batch: expected 2 to 4"):
        load(two_inputs(), engine=engine, max_batch=max_batch)


def test_fixed_batch(engine):
    network = Network(
        name="fixed",
        inputs=(Input(name="a", shape=(2, 3)),),
        outputs=(Output(name="b", value="b"), Output(name="same", value="a")),
        nodes=(Node(op="relu", name="act", inputs=("a",), outputs=("b",)),),
    )
    found = load(packed_file.to_bytes(Manifest(network=network), {}), engine=engine, max_batch=2)
    a = np.array([[-1, 0, 1], [2, -3, 4]], np.float32)
    results = found.run(a)
    assert np.array_equal(results["b"], np.maximum(a, 0))
    assert np.array_equal(results["same"], a)
    assert results["same"] is not a
    with pytest.raises(RuntimeFailure, match=r"expected the shape \[2, 3\]"):
        found.run(a[:1])


def test_errors_of_files(engine, tmp_path):
    (tmp_path / "short").write_bytes(FILE.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"short: .*truncated"):
        load(tmp_path / "short", engine=engine)
    for name in ("absent", ".", "a\0b"):
        with pytest.raises(FileError, match="expected a "):
            load(tmp_path / name, engine=engine)
    with pytest.raises(FormatError):
        load(FILE.read_bytes()[:-1], engine=engine)
    with pytest.raises((GraphError, FormatError)):
        load(b"\x02\0\0\0\0\0\0\0{}", engine=engine)


@pytest.mark.parametrize(
    "bad",
    [
        {"threads": 0}, {"threads": 1.5}, {"threads": "2"}, {"threads": True}, {"threads": None}, {"threads": 4096},
        {"max_batch": 0}, {"max_batch": 2.0},
        {"max_batch": 10**6}, {"max_bytes": -1}, {"max_bytes": 1e9}, {"isa": 3}, {"isa": "z80"}, {"engine": "gpu"}, {"path": None},
        {"path": 3}, {"tune": "yes"}, {"pin": 3},
    ],
    ids=str,
)  # fmt: skip
def test_arguments(engine, bad):
    words = "instruction set|isa" if "isa" in bad else next(iter(bad))
    with pytest.raises(RuntimeFailure, match=words):
        load(**{"path": FILE, "engine": engine, **bad})


@pytest.mark.parametrize(
    "bad", [[[1.0], [2.0, 3.0]], None, "x", {"image": {}}, IMAGE.astype(">f4"), np.float32(0)], ids=str
)
def test_what_is_no_input(engine, bad):
    with pytest.raises(RuntimeFailure, match="image"):
        load(FILE, engine=engine).run(bad)


@pytest.mark.parametrize("repeats", [0, 1.5, "2"])
def test_repeats(engine, repeats):
    with pytest.raises(RuntimeFailure, match="repeats: expected an integer of at least 1"):
        load(FILE, engine=engine).profile(IMAGE, repeats=repeats)


@pytest.mark.parametrize("threads", sorted({1, min(2, usable_cpus())}))
def test_threads_of_the_caller_and_many_sessions(engine, threads):
    sessions = [load(FILE, engine=engine, threads=threads) for _ in range(3)]
    expected = sessions[0].run(IMAGE)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda index: sessions[index % 3].run(IMAGE), range(120)))
    assert all(np.array_equal(found[name], expected[name]) for found in results for name in expected)


def test_a_child_after_fork(engine):
    """The child has a session whose threads were not forked with it."""
    code = (
        "import os, signal, sys, numpy as np\nfrom gossamer.runtime import load\n"
        "session = load(sys.argv[1], engine=sys.argv[2], threads=min(2, len(os.sched_getaffinity(0))))\n"
        "x = np.load(sys.argv[3])\nbefore = session.run(x)['features']\n"
        "child = os.fork()\nif child == 0:\n    signal.alarm(60)\n"
        "    os._exit(0 if np.array_equal(session.run(x)['features'], before) else 1)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    arguments = [sys.executable, "-c", code, str(FILE), engine, str(FILE.with_name("version_1_input.npy"))]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip() == "0"


def claims(name: str) -> bytes:
    """Valid files of less than 2 KiB that claim huge matrices or huge values."""
    columns = 2**25
    if name == "matrix":
        parts = {
            "values": np.zeros((0, 8), np.float16),
            "columns": np.zeros(0, np.uint8),
            "counts": np.zeros(4, np.uint8),
        }
        weight = PackedMatrix("gather_scatter", (8, columns), "float16", {"banks": 8, "per_row": 1}, parts)
        node, shape = (
            Node(op="linear", name="big", inputs=("x",), outputs=("v",), weights={"weight": "w"}),
            (1, columns),
        )
    else:
        attributes = {"output": [65536, 65536]}
        node = Node(
            op="adaptive_avg_pool2d", name="big", inputs=("x",), outputs=("v",), attributes=attributes
        )
        weight, shape = None, (1, 16, 2, 2)
    network = Network(
        name="n",
        inputs=(Input(name="x", shape=shape),),
        outputs=(Output(name="y", value="v"),),
        nodes=(node,),
    )
    return packed_file.to_bytes(Manifest(network=network), {} if weight is None else {"w": weight})


@pytest.mark.parametrize("name", ["matrix", "value"])
def test_claims_take_no_memory(name: str):
    raw = claims(name)
    assert len(raw) < 2048
    tracemalloc.start()
    try:
        with pytest.raises(RuntimeFailure, match=r"expected a .* within 100000000 bytes"):
            load(raw, engine="reference", max_bytes=10**8)
        packed_file.read(raw)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_a_batch_that_does_not_fit():
    found = load(
        two_inputs(), engine="reference", max_bytes=100
    )  # 4 floats an element: two inputs, the sum, its work
    pair = {"a": np.ones((2, 3), np.float32), "b": np.ones((2, 3), np.float32)}
    assert found(pair).tolist() == [[2, 2, 2], [2, 2, 2]]
    larger = {name: np.ones((3, 3), np.float32) for name in pair}
    with pytest.raises(
        RuntimeFailure,
        match=r"node 'add' \(add\): expected a run within 100 bytes, got 144 for the shape \[3, 3\]",
    ):
        found(larger)
    with pytest.raises(RuntimeFailure, match="smaller batch"):
        found.profile(larger)


def test_missing_native_library(monkeypatch):
    monkeypatch.setattr(native, "status", lambda: native.NativeStatus(module=None, reason="it is not there"))
    session._warn_slow.cache_clear()
    with pytest.raises(RuntimeFailure, match="it is not there"):
        load(FILE, engine="native")
    with pytest.warns(RuntimeWarning, match="slow NumPy reference"):
        assert load(FILE).engine == "reference"


def test_no_torch():
    code = "import sys, gossamer.runtime, gossamer.formats.packed_file; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_checkpoint_is_no_packed_network(engine, tmp_path):
    words = r"this safetensors file is not a packed network \(no gossamer manifest in its metadata\)"
    for number, metadata in enumerate((None, {"format": "pt"})):
        path = tmp_path / f"{number}.safetensors"
        save_file({"step": np.zeros(3, np.int64), "w": np.ones((2, 2), np.float32)}, path, metadata=metadata)
        with pytest.raises(FormatError, match=rf"^{re.escape(str(path))}: {words}: "):
            load(path, engine=engine)
        with pytest.raises(FormatError, match=f"^{words}: "):
            load(path.read_bytes(), engine=engine)
