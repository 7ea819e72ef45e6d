"""The packed file: round trip, determinism, the committed file of version 1, atomic writing, refusals of broken files."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from gossamer import formats
from gossamer.errors import FileError, FormatError, GossamerError, GraphError
from gossamer.formats import container, packed_file
from gossamer.graph import FreeDim, ImagePreprocessing, Input, Manifest, Network, Node, Output
from gossamer.runtime import load

DATA = Path(__file__).parents[1] / "data" / "packed"
NETWORK = Network(
    name="tiny",
    dims={"n": FreeDim(min=1, max=4)},
    inputs=(Input(name="x", shape=("n", 4)),),
    outputs=(Output(name="y", value="v"),),
    nodes=(
        Node(op="linear", name="fc", inputs=("x",), outputs=("v",), weights={"weight": "w", "bias": "b"}),
    ),
)
MASK = np.array([[1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
WEIGHTS = {
    "w": formats.pack(np.arange(12, dtype=np.float32).reshape(3, 4), MASK, format="unstructured"),
    "b": np.array([1, 2, 3], np.float32),
}


def tiny() -> bytes:
    return packed_file.to_bytes(Manifest(network=NETWORK, labels=("a", "b", "c"), license="MIT"), WEIGHTS)


def rebuilt(change_manifest=None, change_tensors=None, crc=None) -> bytes:
    """The tiny file with its manifest or tensors changed and the checksums made right again."""
    metadata, tensors = container.parse(tiny())
    manifest = json.loads(metadata["gossamer"])
    if change_tensors:
        change_tensors(tensors)
    for weight in manifest["weights"].values():
        for part in weight["parts"].values():
            part["crc32"] = packed_file.checksum(np.ascontiguousarray(tensors[part["tensor"]]).tobytes())
    if change_manifest:
        change_manifest(manifest)
    text = json.dumps(manifest)
    metadata = {"gossamer": text, "gossamer_crc32": crc or packed_file.checksum(text.encode())}
    return b"".join(container.assemble(metadata, tensors))


def with_header(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + data


def test_round_trip(tmp_path):
    path = tmp_path / "tiny.safetensors"
    size = packed_file.write(path, Manifest(network=NETWORK, labels=("a", "b", "c"), license="MIT"), WEIGHTS)
    found = packed_file.read(path)
    assert size == path.stat().st_size == found.size
    assert found.manifest == Manifest(network=NETWORK, labels=("a", "b", "c"), license="MIT")
    values, mask = formats.unpack(found.weights["w"])
    assert values.tolist() == [[0, 0, 0, 3], [0, 0, 6, 0], [0, 0, 0, 0]]
    assert np.array_equal(mask, MASK)  # the kept zero in the corner stays kept
    assert path.read_bytes() == tiny()  # equal networks, equal bytes
    assert list(tmp_path.iterdir()) == [path]


def test_safetensors_reads_it():
    assert safetensors.numpy.load(tiny())["b.values"].tolist() == [1, 2, 3]


def test_attributes_may_be_tuples():
    node = Node(
        op="adaptive_avg_pool2d", name="p", inputs=("x",), outputs=("v",), attributes={"output": (1, 1)}
    )
    network = Network(
        name="n",
        inputs=(Input(name="x", shape=(1, 2, 3, 3)),),
        outputs=(Output(name="y", value="v"),),
        nodes=(node,),
    )
    raw = packed_file.to_bytes(Manifest(network=network), {})
    assert packed_file.read(raw).manifest.network.nodes[0].attributes == {"output": [1, 1]}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"mean": (float("nan"),)}, "finite numbers, got nan"),
        ({"std": (float("inf"),)}, "finite numbers, got inf"),
        ({"std": (0.0,)}, "scale and std above 0"),
        ({"mean": ("a",)}, "expected a number"),
        ({"size": (8,)}, r"expected \[H, W\]"),
        ({"size": (0, 8)}, r"expected \[H, W\]"),
        ({"channels": 2}, "expected 1 or 3"),
        ({"mean": (0.0, 0.0)}, "expected 1 means and stds"),
    ],
    ids=str,
)
def test_preprocessing_blocks_are_checked(wrong, sentence):
    with pytest.raises(GraphError, match=sentence):
        ImagePreprocessing(**{"size": (8, 8), "channels": 1, "mean": (0.0,), "std": (1.0,), **wrong})


def test_a_lone_surrogate_is_named():
    with pytest.raises(FormatError, match="lone surrogate"):
        packed_file.to_bytes(Manifest(network=NETWORK, labels=("\ud800",)), WEIGHTS)


def test_rebuilt_unchanged_is_valid():
    packed_file.read(rebuilt())


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("version_1*.safetensors")))
@pytest.mark.parametrize("engine", ["reference", pytest.param("native", marks=pytest.mark.native)])
def test_committed_files_load_for_ever(name: str, engine: str):
    stem = DATA / name.removesuffix(".safetensors")
    if engine == "native":
        pytest.importorskip("gossamer._native")
    results = load(DATA / name, engine=engine).run(np.load(f"{stem}_input.npy"))
    assert results
    for key, value in results.items():
        np.testing.assert_allclose(value, np.load(f"{stem}_{key}.npy"), rtol=1e-5, atol=1e-5)


def test_every_format_is_in_the_committed_file():
    weights = packed_file.read(DATA / "version_1.safetensors").weights.values()
    assert {weight.format for weight in weights} == set(formats.FORMATS)


def test_writing_is_atomic_and_wrong_weights_change_nothing(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(FormatError, match=r"weight 'b'.*finite"):
        packed_file.write(path, Manifest(network=NETWORK), {**WEIGHTS, "b": np.full(3, np.nan, np.float32)})
    assert path.read_bytes() == b"old"
    packed_file.write(path, Manifest(network=NETWORK), WEIGHTS)
    assert packed_file.read(path).size == path.stat().st_size
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["absent", ".", "a\0b", ""])
def test_what_cannot_be_read(tmp_path, name: str):
    with pytest.raises(FileError, match="expected a readable packed file"):
        packed_file.read(tmp_path / name)


def test_every_truncation_is_refused():
    raw = tiny()
    for length in range(len(raw)):
        with pytest.raises(GossamerError):
            packed_file.read(raw[:length])


def test_every_flipped_data_byte_is_refused():
    raw = tiny()
    start = 8 + int.from_bytes(raw[:8], "little")
    for at in range(start, len(raw)):
        with pytest.raises(FormatError, match="CRC-32"):
            packed_file.read(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])


HEADERS = {
    "no metadata": (with_header(b"{}"), "expected __metadata__"),
    "not an object": (with_header(b"[]"), "expected a JSON object"),
    "leading space": (with_header(b' {"__metadata__":{}}'), "expected a JSON object"),
    "no manifest": (with_header(b'{"__metadata__":{}}'), "expected the key gossamer"),
    "too long": (with_header(b"{}")[:-1], "truncated"),
    "bytes after the data": (with_header(b'{"__metadata__":{}}', b"x"), "expected 0 bytes of tensors"),
    "hole": (
        with_header(b'{"__metadata__":{},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"xx"),
        "without hole",
    ),
    "float shape": (
        with_header(b'{"__metadata__":{},"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', b"x"),
        "expected integers",
    ),
    "dtype": (
        with_header(b'{"__metadata__":{},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"x"),
        "expected a dtype",
    ),
    "huge shape": (
        with_header(
            b'{"__metadata__":{},"a":{"dtype":"F32","shape":[1048576,1048576],"data_offsets":[0,4]}}', b"xxxx"
        ),
        "bytes for F32",
    ),
    "metadata of numbers": (with_header(b'{"__metadata__":{"a":1}}'), "expected a string"),
    "unknown key": (
        with_header(b'{"__metadata__":{},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', b"x"),
        "exactly the keys",
    ),
}


@pytest.mark.parametrize("case", HEADERS)
def test_container_refusals(case: str):
    raw, sentence = HEADERS[case]
    with pytest.raises(FormatError, match=sentence):
        packed_file.read(raw)


def drop(*path):
    def change(manifest):
        for key in path[:-1]:
            manifest = manifest[key]
        del manifest[path[-1]]

    return change


def put(value, *path):
    def change(manifest):
        for key in path[:-1]:
            manifest = manifest[key]
        manifest[path[-1]] = value

    return change


MANIFESTS = {
    "version": (put(3, "format_version"), GraphError, "expected format_version 1 to 2, got 3"),
    "version true": (put(True, "format_version"), GraphError, "format_version"),
    "no library": (drop("library"), GraphError, '"library"'),
    "extra key": (put(1, "extra"), GraphError, "extra"),
    "labels": (put([1], "labels"), GraphError, "labels: expected a string"),
    "null": (put(None, "recipe"), GraphError, "recipe: expected an object"),
    "no inputs": (put([], "network", "inputs"), GraphError, "at least one input"),
    "unused symbol": (
        put({"n": {"min": 1, "max": 2}, "m": {"min": 1, "max": 2}}, "network", "dims"),
        GraphError,
        "m",
    ),
    "max below min": (put({"n": {"min": 3, "max": 2}}, "network", "dims"), GraphError, "from 3 to 65536"),
    "op": (put("lineer", "network", "nodes", 0, "op"), GraphError, "lineer"),
    "attribute": (put({"axis": 1}, "network", "nodes", 0, "attributes"), GraphError, "attributes"),
    "undefined value": (put(["z"], "network", "nodes", 0, "inputs"), GraphError, "defined before"),
    "shape": (put(["n", 5], "network", "inputs", 0, "shape"), GraphError, "last size is 4"),
    "symbol second": (
        put(["n", 4, "n"], "network", "inputs", 0, "shape"),
        GraphError,
        "one symbol for first dimensions and another elsewhere",
    ),
    "no weight": (put({"bias": "b"}, "network", "nodes", 0, "weights"), GraphError, 'role "weight"'),
    "unused weight": (
        put({"weight": "w"}, "network", "nodes", 0, "weights"),
        GraphError,
        "a node that uses it",
    ),
    "vector as matrix": (
        put({"weight": "b", "bias": "w"}, "network", "nodes", 0, "weights"),
        GraphError,
        "matrix as",
    ),
    "format": (put("csr", "weights", "w", "format"), FormatError, "csr"),
    "dtype": (put("float32", "weights", "w", "dtype"), FormatError, "expected float32"),
    "weight shape": (put([3, 400], "weights", "w", "shape"), FormatError, "gaps"),
    "parameters": (put({"n": 2}, "weights", "w", "parameters"), FormatError, "parameters"),
    "shared tensor": (
        put({"tensor": "w.values", "crc32": "0"}, "weights", "b", "parts", "values"),
        FormatError,
        "of its own",
    ),
    "upper-case checksum": (
        put("ABCDEF00", "weights", "b", "parts", "values", "crc32"),
        FormatError,
        "CRC-32",
    ),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifest_refusals(case: str):
    change, family, sentence = MANIFESTS[case]
    with pytest.raises(family, match=sentence):
        packed_file.read(rebuilt(change))


def test_manifest_checksum():
    with pytest.raises(FormatError, match="manifest: expected the CRC-32"):
        packed_file.read(rebuilt(crc="00000000"))


TENSORS = {
    "unnamed tensor": (lambda t: t.update(x=np.zeros(1, np.uint8)), "a weight that names it"),
    "not finite": (lambda t: t.update({"b.values": np.array([1, np.inf, 3], np.float32)}), "finite"),
    "gap beyond the end": (lambda t: t.update({"w.gaps": np.array([0, 2, 200], np.uint8)}), "gaps"),
    "too few gaps": (lambda t: t.update({"w.gaps": np.array([0, 2], np.uint8)}), "expected 3 entries"),
    "part of another dtype": (
        lambda t: t.update({"w.gaps": t["w.gaps"].astype(np.uint16)}),
        "expected uint8",
    ),
    "part of rank 2": (lambda t: t.update({"w.gaps": t["w.gaps"].reshape(1, -1)}), "one dimension"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensor_refusals(case: str):
    change, sentence = TENSORS[case]
    with pytest.raises(FormatError, match=sentence):
        packed_file.read(rebuilt(change_tensors=change))


def test_write_refuses_what_it_could_not_read(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(GraphError, match="expected w"):
        packed_file.write(path, Manifest(network=NETWORK), {"b": WEIGHTS["b"]})
    with pytest.raises(FormatError, match=r"weight 'b'.*finite"):
        packed_file.write(path, Manifest(network=NETWORK), {**WEIGHTS, "b": np.full(3, np.nan, np.float32)})
    with pytest.raises(FormatError, match="JSON"):
        packed_file.write(path, Manifest(network=NETWORK, metrics={"loss": float("nan")}), WEIGHTS)
    with pytest.raises(FormatError, match="JSON"):
        packed_file.write(path, Manifest(network=NETWORK, metrics={"seed": 2**60}), WEIGHTS)
    assert not path.exists()
