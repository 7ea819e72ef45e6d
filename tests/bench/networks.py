"""Networks that together use every operator, as packed files without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gossamer.formats import pack
from gossamer.formats.packed_file import write
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output

_CONV = {"stride": [1, 1], "padding": [1, 1, 1, 1], "dilation": [1, 1], "groups": 1}


def _node(
    op: str, inputs: list[str], value: str, weights: dict[str, str] | None = None, /, **attributes
) -> Node:
    return Node(
        op=op,
        name=value,
        inputs=tuple(inputs),
        outputs=(value,),
        attributes=attributes,
        weights=weights or {},
    )


def _write(
    path: Path, nodes: list[Node], shape: tuple[int | str, ...], weights: dict[str, np.ndarray]
) -> Path:
    network = Network(
        name=path.stem,
        dims={"batch": FreeDim(min=1, max=8)},
        inputs=(Input(name="x", shape=shape),),
        outputs=(Output(name="y", value=nodes[-1].outputs[0]),),
        nodes=tuple(nodes),
    )
    packed = {
        name: pack(value, np.abs(value) > 0.6, format="unstructured", dtype="float32")
        if value.ndim == 2 and not name.startswith("dense")
        else value
        for name, value in weights.items()
    }
    write(path, Manifest(library="test", network=network), packed)
    return path


def images(folder: Path) -> Path:
    """Convolutions (asymmetric padding, stride, dilation, groups), all pools, concat, add, activations; x [batch, 4, 11, 9]."""
    draw = np.random.default_rng(1).standard_normal
    weights = {
        "a": draw((8, 36), np.float32),
        "a.bias": draw(8, np.float32),
        "dense.b": draw((8, 9), np.float32),
        "c": draw((6, 8 * 4), np.float32),
        "scale": draw(8, np.float32),
        "shift": draw(8, np.float32),
        "head": draw((5, 14 * 4), np.float32),
        "head.bias": draw(5, np.float32),
    }
    strided = {"stride": [2, 1], "padding": [1, 0, 0, 1], "dilation": [1, 2], "groups": 1}
    nodes = [
        _node("conv2d", ["x"], "a", {"weight": "a", "bias": "a.bias"}, kernel=[3, 3], **_CONV),
        _node("relu6", ["a"], "a6"),
        _node("conv2d", ["a6"], "b", {"weight": "dense.b"}, kernel=[3, 3], **{**_CONV, "groups": 8}),
        _node("channel_affine", ["b"], "affine", {"scale": "scale", "shift": "shift"}),
        _node("silu", ["affine"], "silu"),
        _node("add", ["silu", "a"], "sum"),
        _node("relu", ["sum"], "relu"),
        _node("conv2d", ["relu"], "c", {"weight": "c"}, kernel=[2, 2], **strided),
        _node("sigmoid", ["c"], "gate"),
        _node(
            "max_pool2d", ["relu"], "max", kernel=[3, 3], stride=[2, 1], padding=[1, 1, 1, 1], dilation=[1, 1]
        ),
        _node("adaptive_avg_pool2d", ["gate"], "gate22", output=[1, 1]),
        _node("adaptive_avg_pool2d", ["max"], "max22", output=[1, 1]),
        _node("concat", ["gate22", "max22"], "cat", axis=1),
        _node(
            "avg_pool2d",
            ["relu"],
            "avg",
            kernel=[3, 2],
            stride=[3, 2],
            padding=[1, 1, 1, 1],
            count_include_pad=False,
        ),
        _node(
            "avg_pool2d",
            ["relu"],
            "avg2",
            kernel=[3, 2],
            stride=[3, 2],
            padding=[1, 1, 1, 1],
            count_include_pad=True,
        ),
        _node("add", ["avg", "avg2"], "avgs"),
        _node("adaptive_avg_pool2d", ["avgs"], "avg11", output=[1, 1]),
        _node("flatten", ["cat"], "flat", start=1),
        _node("flatten", ["avg11"], "flat2", start=1),
        _node("concat", ["flat", "flat", "flat2", "flat", "flat2"], "wide", axis=1),
        _node("flatten", ["wide"], "wide1", start=1),
        _node("softmax", ["wide1"], "soft", axis=1),
    ]
    wide = 14 * 3 + 8 * 2
    weights["head"] = draw((5, wide), np.float32)
    nodes.append(_node("linear", ["soft"], "head", {"weight": "head", "bias": "head.bias"}))
    return _write(folder / "images.safetensors", nodes, ("batch", 4, 11, 9), weights)


def tokens(folder: Path) -> Path:
    """Linear layers on tokens, layer norms with and without weights, both forms of GELU; x [batch, 3, 16]."""
    draw = np.random.default_rng(2).standard_normal
    weights = {
        "norm.weight": draw(16, np.float32),
        "norm.bias": draw(16, np.float32),
        "up": draw((24, 16), np.float32),
        "up.bias": draw(24, np.float32),
        "down": draw((16, 24), np.float32),
    }
    nodes = [
        _node("layer_norm", ["x"], "n", {"weight": "norm.weight", "bias": "norm.bias"}, axes=1, epsilon=1e-5),
        _node("linear", ["n"], "up", {"weight": "up", "bias": "up.bias"}),
        _node("gelu", ["up"], "g", approximate="none"),
        _node("linear", ["g"], "down", {"weight": "down"}),
        _node("gelu", ["down"], "g2", approximate="tanh"),
        _node("add", ["g2", "x"], "sum"),
        _node("layer_norm", ["sum"], "out", axes=2, epsilon=1e-3),
    ]
    return _write(folder / "tokens.safetensors", nodes, ("batch", 3, 16), weights)


NETWORKS = {"images": images, "tokens": tokens}
