"""Base files of the fuzz test: small valid networks that together use every operator, format, dtype and shape of file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fuzz_bases_version_2 as version_2
import numpy as np
from fuzz_matrices import MATRICES, matrix, node, vector

from gossamer import formats
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output


def _file(
    name: str, shape: tuple[int | str, ...], nodes: list[Node], weights: dict[str, Any], **extra: Any
) -> bytes:
    dims = {"n": FreeDim(min=1, max=3)} if shape[0] == "n" else {}
    outputs = extra.pop("outputs", (Output(name="y", value=nodes[-1].outputs[0]),))
    network = Network(
        name=name, dims=dims, inputs=(Input(name="x", shape=shape),), outputs=outputs, nodes=tuple(nodes)
    )
    return packed_file.to_bytes(Manifest(network=network, **extra), weights)


def _linear_files(rng: np.random.Generator) -> Iterator[bytes]:
    for index, (name, parameters, rows, columns) in enumerate(MATRICES):
        for dtype in ("float32", "float16"):
            weights = {"w": matrix(name, parameters, rows, columns, dtype, rng)}
            roles = {"weight": "w"}
            if index % 2:
                weights["b"], roles["bias"] = vector(rows, rng), "b"
            nodes = [node("linear", "x", "h", roles), node("relu", "h", "y")]
            yield _file(f"{name} {dtype}", ("n" if index % 3 else 2, columns), nodes, weights)


def _boundary_file() -> bytes:
    """After its one entry 255 slots are left: the stream of gaps ends with a byte 255, and without it would be too short."""
    first = np.zeros((1, 256), dtype=np.bool_)
    first[0, 0] = True
    weight = formats.pack(np.ones((1, 256), np.float32), first, format="unstructured", dtype="float32")
    return _file("boundary", (1, 256), [node("linear", "x", "y", {"weight": "w"})], {"w": weight})


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
        node(
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
        node("channel_affine", "a", "b", {"scale": "s", "shift": "t"}),
        node("relu6", "b", "c"),
        node(
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
        node(
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
        node("add", "e c", "f"),
        node("silu", "f", "g"),
        node("concat", "g c", "h", axis=1),
        node("adaptive_avg_pool2d", "h", "i", output=[1, 1]),
        node("flatten", "i", "j", start=1),
        node("linear", "j", "k", {"weight": "f"}),
        node("softmax", "k", "y", axis=1),
    ]
    blocks: dict[str, Any] = {
        "labels": ("a", "b", "c", "d", "é"),
        "license": "CC0",
        "metrics": {"accuracy": 0.5, "deep": [[[1, None, True]]]},
    }
    return _file("convolutions", ("n", 3, 7, 6), nodes, weights, **blocks)


def _pool_file() -> bytes:
    nodes = [
        node("max_pool2d", "x", "a", kernel=[3, 2], stride=[2, 1], padding=[1, 1, 0, 1], dilation=[1, 2]),
        node(
            "avg_pool2d",
            "a",
            "b",
            kernel=[2, 2],
            stride=[1, 2],
            padding=[1, 0, 1, 0],
            count_include_pad=False,
        ),
        node(
            "avg_pool2d", "b", "c", kernel=[2, 2], stride=[1, 1], padding=[1, 1, 1, 1], count_include_pad=True
        ),
        node("adaptive_avg_pool2d", "c", "d", output=[3, 2]),
        node("sigmoid", "d", "e"),
        node("flatten", "e", "y", start=2),
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
        node("layer_norm", "x", "a", {"weight": "g", "bias": "h"}, axes=2, epsilon=1e-5),
        node("gelu", "a", "b", approximate="none"),
        node("linear", "b", "c", {"weight": "w"}),
        node("gelu", "c", "d", approximate="tanh"),
        node("layer_norm", "d", "e", axes=1, epsilon=1),
        node("add", "e x", "f"),
        node("softmax", "f", "y", axis=2),
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
        *[file for file in version_2.files(rng) for _ in range(3)],
    ]
