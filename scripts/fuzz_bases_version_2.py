"""Base files of format version 2: every operator of it, a length, integers, states, several outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from fuzz_matrices import matrix, node, vector

from gossamer import formats
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output, State

DIMS = {"s": FreeDim(min=2, max=5), "n": FreeDim(min=1, max=3)}
PLAIN = [
    "tanh",
    "exp",
    "abs",
    "neg",
    "erf",
    "sin",
    "cos",
    "floor",
    "sign",
    "hardswish",
    "hardsigmoid",
    "mish",
]


def _file(
    name: str,
    inputs: list[Input],
    nodes: list[Node],
    weights: dict[str, Any],
    outputs: dict[str, str] | None = None,
    states: dict[str, str] | None = None,
) -> bytes:
    used = {size for item in inputs for size in item.shape}
    network = Network(
        name=name,
        dims={symbol: dim for symbol, dim in DIMS.items() if symbol in used},
        inputs=tuple(inputs),
        outputs=tuple(
            Output(name=key, value=value) for key, value in (outputs or {"y": nodes[-1].outputs[0]}).items()
        ),
        nodes=tuple(nodes),
        states=tuple(State(input=key, output=value) for key, value in (states or {}).items()),
    )
    return packed_file.to_bytes(Manifest(network=network), weights)


def _functions() -> bytes:
    names = ["x", *(f"v{index}" for index in range(len(PLAIN)))]
    nodes = [node(op, names[index], names[index + 1]) for index, op in enumerate(PLAIN)]
    nodes += [
        node("leaky_relu", names[-1], "a", slope=0.1),
        node("elu", "a", "b", alpha=1),
        node("softplus", "b", "c", beta=2.0, threshold=20),
        node("clamp", "c", "d", low=None, high=0.7),
        node("affine", "d", "e", scale=-2, shift=3.5),
        node("power", "e", "f", exponent=2),
        node("sqrt", "f", "g"),
        node("log", "g", "h"),
        node("rsqrt", "g", "y"),
    ]
    return _file("functions", [Input(name="x", shape=("n", "s"))], nodes, {}, {"y": "y", "h": "h"})


def _combinations() -> bytes:
    nodes = [
        node("sub", "x w", "a"),
        node("mul", "a x", "b"),
        node("add", "w b", "c"),
        node("div", "c b", "d"),
        node("maximum", "d w", "e"),
        node("minimum", "e x", "f"),
        node("less", "x w", "g"),
        node("less_equal", "g x", "h"),
        node("equal", "h g", "i"),
        node("not_equal", "i w", "j"),
        node("where", "j f w", "k"),
        node("concat", "k f", "l", axis=1),
        node("softmax", "l", "y", axis=2),
    ]
    inputs = [Input(name="x", shape=("n", "s", 3)), Input(name="w", shape=("n", 1, 3))]
    return _file("combinations", inputs, nodes, {})


def _axes(rng: np.random.Generator) -> bytes:
    weights = {"g": vector(4, rng), "b": vector(4, rng), "r": vector(12, rng)}
    nodes = [
        node("group_norm", "x", "a", {"weight": "g", "bias": "b"}, groups=2, epsilon=1e-5),
        node("permute", "a", "b", order=[2, 1, 3]),
        node("rms_norm", "b", "c", {"weight": "r"}, axes=2, epsilon=1e-6),
        node("mean", "c", "d", axes=[1, 3], keep=True),
        node("sum", "c", "e", axes=[1], keep=False),
        node("max", "c", "f", axes=[2, 3], keep=False),
        node("min", "c", "g", axes=[1, 2, 3], keep=False),
        node("argmax", "c", "h", axis=3, keep=True),
        node("cumsum", "c", "i", axis=1),
    ]
    names = {name: name for name in "defghi"}
    return _file("axes", [Input(name="x", shape=("n", 4, "s", 3))], nodes, weights, names)


def _moves(rng: np.random.Generator) -> bytes:
    half = formats.pack(vector(25, rng), None, format="dense", dtype="float16")
    weights = {"table": vector(15, rng), "mask": half}
    nodes = [
        node("reshape", "x", "a", shape=["s", 2, -1]),
        node("constant", "x", "t", {"value": "table"}, shape=["s", 3]),
        node("constant", "x", "m", {"value": "mask"}, shape=["s", "s"]),
        node("slice", "a", "b", axis=1, start=-2, stop=None, step=1),
        node("pad", "b", "c", before=[1, 0, 2], after=[0, 1, 0], mode="constant", value=0.5),
        node("pad", "c", "d", before=[2, 1, 0], after=[1, 0, 1], mode="reflect", value=0),
        node("pad", "d", "e", before=[0, 0, 1], after=[1, 0, 0], mode="replicate", value=0),
        node("flip", "e", "f", axes=[1, 3]),
        node("flatten", "t", "u", start=1),
        node("reshape", "u", "v", shape=[1, -1]),
        node("flip", "v", "w", axes=[2]),
        node("slice", "x", "p", axis=2, start=0, stop=1, step=1),
        node("expand", "p", "q", shape=["s", 4]),
    ]
    outputs = {name: name for name in "fmwq"}
    return _file("moves", [Input(name="x", shape=("n", "s", 6))], nodes, weights, outputs)


def _images() -> bytes:
    nodes = [
        node("pixel_shuffle", "x", "a", factor=[2, 1], order="channel_major"),
        node("pixel_shuffle", "a", "b", factor=[1, 2], order="phase_major"),
        node("upsample", "b", "c", output=[7, 5], scale=[0.9, 1.2], mode="bilinear", align_corners=False),
        node("upsample", "c", "d", output=[4, 9], scale=[1.5, 0.5], mode="bilinear", align_corners=True),
        node("upsample", "d", "y", output=[6, 6], scale=[0.5, 1.5], mode="nearest", align_corners=False),
    ]
    return _file("images", [Input(name="x", shape=("n", 8, 3, 2))], nodes, {})


def _encoder(rng: np.random.Generator) -> bytes:
    """Tokens through embedding and attention with a padding mask."""
    weights = {
        "table": matrix("unstructured", {}, 9, 8, "float16", rng),
        "places": vector(5 * 8, rng),
        "qkv": matrix("n_of_m", {"n": 2, "m": 4}, 24, 8, "float32", rng),
        "out": matrix("gather_scatter", {"banks": 4, "per_row": 1}, 8, 8, "float16", rng),
    }
    nodes = [
        node("embedding", "tokens", "e", {"weight": "table"}),
        node("constant", "e", "p", {"value": "places"}, shape=["s", 8]),
        node("add", "e p", "x"),
        node("linear", "x", "all", {"weight": "qkv"}),
        node("reshape", "all", "heads", shape=["s", 3, 2, 4]),
        node("permute", "heads", "sorted", order=[2, 3, 1, 4]),
    ]
    for index, name in enumerate("qkv"):
        nodes.append(node("slice", "heads", f"{name}1", axis=2, start=index, stop=index + 1, step=1))
        nodes.append(node("reshape", f"{name}1", f"{name}2", shape=["s", 2, 4]))
        nodes.append(node("permute", f"{name}2", name, order=[2, 1, 3]))
    nodes += [
        node("reshape", "keep", "mask", shape=[1, 1, -1]),
        node("attention", "q k v mask", "o", scale=0.5, causal=False, mask="keep"),
        node("attention", "q k v", "causal", scale=0.5, causal=True, mask="none"),
        node("matmul", "q k", "products", transpose_b=True),
        node("attention", "q k v products", "added", scale=1, causal=True, mask="add"),
        node("permute", "o", "back", order=[2, 1, 3]),
        node("reshape", "back", "flat", shape=["s", -1]),
        node("linear", "flat", "y", {"weight": "out"}),
    ]
    inputs = [
        Input(name="tokens", shape=("n", "s"), dtype="int64"),
        Input(name="keep", shape=("n", "s"), dtype="int64"),
    ]
    outputs = {"y": "y", "causal": "causal", "added": "added", "sorted": "sorted"}
    return _file("encoder", inputs, nodes, weights, outputs)


def _recurrent(rng: np.random.Generator) -> bytes:
    weights = {
        "li": matrix("unstructured", {}, 16, 3, "float16", rng),
        "lh": matrix("block", {"rows": 4, "columns": 1}, 16, 4, "float32", rng),
        "lb": vector(16, rng),
        "gi": matrix("n_of_m", {"n": 2, "m": 4}, 12, 4, "float16", rng),
        "gh": matrix("dense", {}, 12, 4, "float32", rng),
        "gb": vector(4, rng),
    }
    lstm = {"input": "li", "hidden": "lh", "bias": "lb"}
    nodes = [
        node("lstm", "x h c", "a h1 c1", lstm, reverse=False),
        node("lstm", "x", "b h2 c2", {"input": "li", "hidden": "lh"}, reverse=True),
        node("add", "a b", "d"),
        node("gru", "d g", "e g1", {"input": "gi", "hidden": "gh", "hidden_bias": "gb"}, reverse=False),
        node("gru", "e", "y g2", {"input": "gi", "hidden": "gh"}, reverse=True),
    ]
    inputs = [Input(name="x", shape=("n", "s", 3))]
    inputs += [Input(name=name, shape=("n", 4)) for name in "hcg"]
    outputs = {"y": "y", "h1": "h1", "c1": "c1", "g1": "g1", "last": "g2"}
    return _file("recurrent", inputs, nodes, weights, outputs, {"h": "h1", "c": "c1", "g": "g1"})


def files(rng: np.random.Generator) -> Iterator[bytes]:
    """Every base file of version 2."""
    yield _functions()
    yield _combinations()
    yield _axes(rng)
    yield _moves(rng)
    yield _images()
    yield _encoder(rng)
    yield _recurrent(rng)
