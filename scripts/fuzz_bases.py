"""Base files of the fuzz test: small valid networks that together use every operator, format, dtype and shape of file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gossamer import formats
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output

# Format, its parameters, rows and columns of a matrix that it can store.
MATRICES: list[tuple[str, dict[str, int], int, int]] = [
    ("dense", {}, 3, 5),
    ("unstructured", {}, 5, 7),
    ("unstructured", {}, 40, 90),  # gaps above 254
    ("unstructured", {}, 1, 1),
    ("block", {"rows": 4, "columns": 1}, 8, 6),
    ("block", {"rows": 2, "columns": 3}, 6, 9),
    ("n_of_m", {"n": 2, "m": 4}, 3, 12),
    ("n_of_m", {"n": 1, "m": 5}, 4, 10),
    ("gather_scatter", {"banks": 4, "per_row": 4}, 3, 12),
    ("gather_scatter", {"banks": 4, "per_row": 1}, 8, 12),
    ("gather_scatter", {"banks": 8, "per_row": 2}, 8, 24),
    ("gather_scatter", {"banks": 2, "per_row": 2}, 2, 2),  # columns of 0 bits
    ("window", {"width": 8}, 16, 24),
]


def mask_for(
    name: str, parameters: Mapping[str, int], rows: int, columns: int, rng: np.random.Generator
) -> Any:
    """A random legal mask, bool [rows, columns], of about a third of the entries."""
    mask = np.zeros((rows, columns), dtype=np.bool_)
    if name == "dense":
        mask[:] = True
    elif name == "unstructured":
        mask[:] = rng.random((rows, columns)) < (0.3 if rows < 20 else 0.004)
    elif name == "block":
        r, c = parameters["rows"], parameters["columns"]
        mask[:] = np.kron(rng.random((rows // r, columns // c)) < 0.4, np.ones((r, c))) > 0
    elif name == "n_of_m":
        n, m = parameters["n"], parameters["m"]
        order = np.argsort(rng.random((rows, columns // m, m)), axis=-1)
        mask[:] = (order < n).reshape(rows, columns)
    elif name == "gather_scatter":
        banks, per_row = parameters["banks"], parameters["per_row"]
        height = banks // per_row
        for top in range(0, rows, height):
            for bundle in range(int(rng.integers(0, max(2, columns // banks)))):
                residues = rng.permutation(banks)
                for lane in range(banks):  # bundle t takes block t of the columns: no entry occurs twice
                    mask[top + lane // per_row, bundle * banks + residues[lane]] = True
    else:
        for slot_row in range(0, rows, 8):
            for window in range(0, columns, 8):
                if rng.random() < 0.5:
                    mask[slot_row + np.arange(8), window + rng.integers(0, 8, 8)] = True
    return mask


def matrix(
    name: str, parameters: Mapping[str, int], rows: int, columns: int, dtype: str, rng: np.random.Generator
) -> Any:
    """A random weight in a format."""
    values = rng.normal(size=(rows, columns)).astype(np.float32)
    return formats.pack(
        values, mask_for(name, parameters, rows, columns, rng), format=name, dtype=dtype, **parameters
    )


def vector(size: int, rng: np.random.Generator) -> Any:
    return rng.normal(size=size).astype(np.float32)


def _file(
    name: str, shape: tuple[int | str, ...], nodes: list[Node], weights: dict[str, Any], **extra: Any
) -> bytes:
    dims = {"n": FreeDim(min=1, max=3)} if shape[0] == "n" else {}
    outputs = extra.pop("outputs", (Output(name="y", value=nodes[-1].outputs[0]),))
    network = Network(
        name=name, dims=dims, inputs=(Input(name="x", shape=shape),), outputs=outputs, nodes=tuple(nodes)
    )
    return packed_file.to_bytes(Manifest(network=network, **extra), weights)


def _node(
    op: str, inputs: str, result: str, weights: dict[str, str] | None = None, /, **attributes: Any
) -> Node:
    return Node(
        op=op,
        name=f"{op}_{result}",
        inputs=tuple(inputs.split()),
        outputs=(result,),
        attributes=attributes,
        weights=weights or {},
    )


def _linear_files(rng: np.random.Generator) -> Iterator[bytes]:
    for index, (name, parameters, rows, columns) in enumerate(MATRICES):
        for dtype in ("float32", "float16"):
            weights = {"w": matrix(name, parameters, rows, columns, dtype, rng)}
            roles = {"weight": "w"}
            if index % 2:
                weights["b"], roles["bias"] = vector(rows, rng), "b"
            nodes = [_node("linear", "x", "h", roles), _node("relu", "h", "y")]
            yield _file(f"{name} {dtype}", ("n" if index % 3 else 2, columns), nodes, weights)


def _boundary_file() -> bytes:
    """After its one entry 255 slots are left: the stream of gaps ends with a byte 255, and without it would be too short."""
    first = np.zeros((1, 256), dtype=np.bool_)
    first[0, 0] = True
    weight = formats.pack(np.ones((1, 256), np.float32), first, format="unstructured", dtype="float32")
    return _file("boundary", (1, 256), [_node("linear", "x", "y", {"weight": "w"})], {"w": weight})


def _convolution_file(rng: np.random.Generator) -> bytes:
    weights = {
        "c1": matrix("unstructured", {}, 8, 3 * 3 * 3, "float16", rng),
        "b1": vector(8, rng),
        "dw": matrix("dense", {}, 8, 3 * 3, "float32", rng),
        "c2": matrix("gather_scatter", {"banks": 4, "per_row": 1}, 8, 8, "float16", rng),
        "s": vector(8, rng),
        "t": vector(8, rng),
        "f": matrix("n_of_m", {"n": 2, "m": 4}, 5, 16, "float16", rng),
    }
    nodes = [
        _node(
            "conv2d",
            "x",
            "a",
            {"weight": "c1", "bias": "b1"},
            kernel=[3, 3],
            stride=[2, 2],
            padding=[1, 1, 1, 1],
            dilation=[1, 1],
            groups=1,
        ),
        _node("channel_affine", "a", "b", {"scale": "s", "shift": "t"}),
        _node("relu6", "b", "c"),
        _node(
            "conv2d",
            "c",
            "d",
            {"weight": "dw"},
            kernel=[3, 3],
            stride=[1, 1],
            padding=[2, 2, 2, 2],
            dilation=[2, 2],
            groups=8,
        ),
        _node(
            "conv2d",
            "d",
            "e",
            {"weight": "c2"},
            kernel=[1, 1],
            stride=[1, 1],
            padding=[0, 0, 0, 0],
            dilation=[1, 1],
            groups=1,
        ),
        _node("add", "e c", "f"),
        _node("silu", "f", "g"),
        _node("concat", "g c", "h", axis=1),
        _node("adaptive_avg_pool2d", "h", "i", output=[1, 1]),
        _node("flatten", "i", "j", start=1),
        _node("linear", "j", "k", {"weight": "f"}),
        _node("softmax", "k", "y", axis=1),
    ]
    blocks: dict[str, Any] = {
        "labels": ("a", "b", "c", "d", "é"),
        "license": "CC0",
        "metrics": {"accuracy": 0.5, "deep": [[[1, None, True]]]},
    }
    return _file("convolutions", ("n", 3, 7, 6), nodes, weights, **blocks)


def _pool_file() -> bytes:
    nodes = [
        _node("max_pool2d", "x", "a", kernel=[3, 2], stride=[2, 1], padding=[1, 1, 0, 1], dilation=[1, 2]),
        _node(
            "avg_pool2d",
            "a",
            "b",
            kernel=[2, 2],
            stride=[1, 2],
            padding=[1, 0, 1, 0],
            count_include_pad=False,
        ),
        _node(
            "avg_pool2d", "b", "c", kernel=[2, 2], stride=[1, 1], padding=[1, 1, 1, 1], count_include_pad=True
        ),
        _node("adaptive_avg_pool2d", "c", "d", output=[3, 2]),
        _node("sigmoid", "d", "e"),
        _node("flatten", "e", "y", start=2),
    ]
    return _file(
        "pools",
        (2, 2, 6, 9),
        nodes,
        {},
        outputs=(Output(name="a", value="a"), Output(name="y", value="y"), Output(name="x", value="x")),
    )


def _norm_file(rng: np.random.Generator) -> bytes:
    weights = {
        "g": vector(12, rng),
        "h": vector(12, rng),
        "w": matrix("block", {"rows": 2, "columns": 2}, 4, 4, "float32", rng),
    }
    nodes = [
        _node("layer_norm", "x", "a", {"weight": "g", "bias": "h"}, axes=2, epsilon=1e-5),
        _node("gelu", "a", "b", approximate="none"),
        _node("linear", "b", "c", {"weight": "w"}),
        _node("gelu", "c", "d", approximate="tanh"),
        _node("layer_norm", "d", "e", axes=1, epsilon=1),
        _node("add", "e x", "f"),
        _node("softmax", "f", "y", axis=2),
    ]
    return _file(
        "norms",
        ("n", 2, 3, 4),
        nodes,
        weights,
        outputs=(Output(name="y", value="y"), Output(name="z", value="c")),
    )


def bases() -> list[bytes]:
    """All base files; the same in every process."""
    rng = np.random.default_rng(2)
    return [
        *_linear_files(rng),
        _boundary_file(),
        *[_convolution_file(rng)] * 3,
        *[_pool_file()] * 2,
        *[_norm_file(rng)] * 3,
    ]
