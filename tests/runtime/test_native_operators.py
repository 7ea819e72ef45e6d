"""Every operator of version 2 in the native engine beside the NumPy reference: odd shapes, several batches, every length."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gossamer
from gossamer.formats import pack, packed_file
from gossamer.graph import OPERATORS, FreeDim, Input, Manifest, Network, Node, Output
from gossamer.kernels import native

pytestmark = pytest.mark.skipif(native.status().module is None, reason="no native library")

Shape = tuple[int | str, ...]
rng = np.random.default_rng(7)


def node(op: str, inputs: list[str], name: str, weights: tuple[str, ...] = (), /, **attributes: Any) -> Node:
    more = tuple(f"{name}{index}" for index in range(len(OPERATORS[op].more)))
    return Node(
        op=op,
        name=name,
        inputs=tuple(inputs),
        outputs=(name, *more),
        attributes=attributes,
        weights={role: f"{name}.{role}" for role in weights},
    )


def file_of(
    nodes: list[Node], inputs: dict[str, Shape], weights: dict[str, NDArray[np.float32]], longest: int = 0
) -> bytes:
    """All outputs of all nodes are outputs of the network."""
    dims = {"n": FreeDim(min=1, max=17)} | ({"s": FreeDim(min=1, max=longest)} if longest else {})
    names = [name for item in nodes for name in item.outputs]
    network = Network(
        name="operators",
        dims=dims,
        inputs=tuple(Input(name=name, shape=("n", *shape)) for name, shape in inputs.items()),
        outputs=tuple(Output(name=name, value=name) for name in names),
        nodes=tuple(nodes),
    )
    stored = {}
    for name, value in weights.items():
        kept = value != 0
        sparse = value.ndim == 2 and not kept.all()
        stored[name] = pack(
            value,
            kept if sparse else None,
            format="unstructured" if sparse else "dense",
            dtype="float32",
        )
    return packed_file.to_bytes(Manifest(network=network), stored)


def agree(
    data: bytes,
    inputs: dict[str, Shape],
    lengths: tuple[int, ...] = (0,),
    batches: tuple[int, ...] = (1, 3),
    spoilt: bool = False,
) -> None:
    reference = gossamer.load(data, engine="reference")
    sessions = [gossamer.load(data, engine="native", isa=isa) for isa in native_isas()]
    for batch in batches:
        for length in lengths:
            arrays = {
                name: rng.standard_normal(
                    [batch, *(length if size == "s" else size for size in shape)]
                ).astype(np.float32)
                for name, shape in inputs.items()
            }
            if spoilt:
                for array in arrays.values():
                    array.flat[array.size // 3] = np.nan
                    array.flat[array.size // 2] = np.inf
            with np.errstate(all="ignore"):
                expected = reference.run(arrays)
            for session in sessions:
                found = session.run(arrays)
                for name, want in expected.items():
                    np.testing.assert_allclose(
                        found[name], want, rtol=1e-4, atol=2e-5, err_msg=f"{name} {batch} {length}"
                    )


def native_isas() -> list[str]:
    module = native.status().module
    assert module is not None
    return list(json.loads(module.build_info())["isas_available"])


def matrix(rows: int, columns: int, kept: float = 1.0) -> NDArray[np.float32]:
    value = rng.standard_normal((rows, columns)) / np.sqrt(columns * kept)
    return np.asarray(value * (rng.random((rows, columns)) < kept), dtype=np.float32)


def vector(size: int) -> NDArray[np.float32]:
    return rng.standard_normal(size).astype(np.float32)


ONE: list[tuple[str, dict[str, Any]]] = [
    *((op, {}) for op in ("tanh", "exp", "abs", "neg", "erf", "sin", "cos", "floor", "sign")),
    *((op, {}) for op in ("hardswish", "hardsigmoid", "mish", "relu", "relu6", "silu", "sigmoid")),
    ("gelu", {"approximate": "none"}),
    ("gelu", {"approximate": "tanh"}),
    ("leaky_relu", {"slope": 0.1}),
    ("elu", {"alpha": 1.5}),
    ("softplus", {"beta": 2.0, "threshold": 3.0}),
    ("clamp", {"low": -0.5, "high": None}),
    ("clamp", {"low": None, "high": 0.25}),
    ("affine", {"scale": 2.5, "shift": -1.0}),
    ("power", {"exponent": 2.0}),
    ("mean", {"axes": [2], "keep": True}),
    ("sum", {"axes": [1, 3], "keep": False}),
    ("max", {"axes": [3], "keep": False}),
    ("min", {"axes": [1], "keep": True}),
    ("mean", {"axes": [2, 3], "keep": False}),
    ("argmax", {"axis": 2, "keep": False}),
    ("cumsum", {"axis": 1}),
    ("softmax", {"axis": 2}),
    ("layer_norm", {"axes": 1, "epsilon": 1e-3}),
    ("layer_norm", {"axes": 2, "epsilon": 1e-3}),
    ("rms_norm", {"axes": 1, "epsilon": 1e-3}),
    ("group_norm", {"groups": 2, "epsilon": 1e-3}),
    ("reshape", {"shape": [12, -1]}),
    ("reshape", {"shape": [2, 2, 15]}),
    ("permute", {"order": [3, 1, 2]}),
    ("permute", {"order": [2, 3, 1]}),
    ("slice", {"axis": 1, "start": -2, "stop": None, "step": 1}),
    ("slice", {"axis": 3, "start": 1, "stop": 5, "step": 2}),
    ("expand", {"shape": [4, 3, 5]}),
    ("pad", {"before": [1, 0, 2], "after": [0, 2, 1], "mode": "constant", "value": 0.5}),
    ("pad", {"before": [0, 2, 1], "after": [0, 1, 3], "mode": "reflect", "value": 0}),
    ("pad", {"before": [1, 2, 0], "after": [0, 1, 3], "mode": "replicate", "value": 0}),
    ("flip", {"axes": [1, 3]}),
    ("pixel_shuffle", {"factor": [2, 1], "order": "channel_major"}),
    ("pixel_shuffle", {"factor": [1, 2], "order": "phase_major"}),
    ("upsample", {"output": [6, 9], "scale": [0.5, 5 / 9], "mode": "nearest", "align_corners": False}),
    ("upsample", {"output": [6, 9], "scale": [0.5, 5 / 9], "mode": "bilinear", "align_corners": False}),
    ("upsample", {"output": [6, 9], "scale": [0.4, 0.5], "mode": "bilinear", "align_corners": True}),
]


@pytest.mark.parametrize(("op", "attributes"), ONE, ids=lambda value: value if isinstance(value, str) else "")
def test_one_input(op, attributes):
    """On a plain value, and on the planes that a convolution leaves."""
    shape: Shape = (4, 3, 5)
    conv = {
        "kernel": [1, 1],
        "stride": [1, 1],
        "padding": [0, 0, 0, 0],
        "dilation": [1, 1],
        "groups": 1,
    }
    nodes = [
        node("conv2d", ["x"], "planes", ("weight",), **conv),
        node(op, ["x"], "plain", **attributes),
        node(op, ["planes"], "planar", **attributes),
    ]
    agree(file_of(nodes, {"x": shape}, {"planes.weight": matrix(4, 4)}), {"x": shape})


@pytest.mark.parametrize(
    "op", ["add", "sub", "mul", "div", "maximum", "minimum", "less", "equal", "less_equal", "not_equal"]
)
@pytest.mark.parametrize("b", [(4, 9, 5), (4, 1, 1), (1, 9, 1), (1, 1, 5), (1, 1, 1)])
def test_two_inputs(op, b):
    inputs: dict[str, Shape] = {"a": (4, 9, 5), "b": b}
    weights = {"t.weight": matrix(5, 5, 0.5)}
    nodes = [
        node("linear", ["a"], "t", ("weight",)),
        node(op, ["a", "b"], "plain"),
        node(op, ["t", "b"], "lanes"),
        node("where", ["b", "t", "a"], "chosen"),
    ]
    agree(file_of(nodes, inputs, weights), inputs)


@pytest.mark.parametrize(("op", "attributes"), ONE, ids=lambda value: value if isinstance(value, str) else "")
def test_nan_and_infinity(op, attributes):
    """As in the reference, value by value: nothing leaks from one place to another."""
    data = file_of([node(op, ["x"], "y", **attributes)], {"x": (4, 3, 5)}, {})
    agree(data, {"x": (4, 3, 5)}, spoilt=True)


@pytest.mark.parametrize(
    "op", ["add", "sub", "mul", "div", "maximum", "minimum", "less", "equal", "not_equal"]
)
def test_nan_of_two_inputs(op):
    inputs: dict[str, Shape] = {"a": (4, 37), "b": (1, 37)}
    agree(file_of([node(op, ["a", "b"], "y")], inputs, {}), inputs, spoilt=True)


def test_nan_stays_with_its_token():
    """A norm, a dense layer and what is added: other tokens stay finite."""
    nodes = [
        node("linear", ["x"], "t", ("weight",)),
        node("layer_norm", ["t"], "n", axes=1, epsilon=1e-5),
        node("add", ["n", "x"], "y"),
    ]
    inputs: dict[str, Shape] = {"x": (19, 12)}
    agree(file_of(nodes, inputs, {"t.weight": matrix(12, 12)}), inputs, spoilt=True)


def test_functions_of_positive_numbers():
    nodes = [node("exp", ["x"], "e")]
    nodes += [node(op, ["e"], op) for op in ("log", "sqrt", "rsqrt")]
    nodes.append(node("power", ["e"], "power", exponent=-1.5))
    agree(file_of(nodes, {"x": (33,)}, {}), {"x": (33,)}, batches=(1, 17))


def encoder(
    tokens: int | str, width: int, heads: int, mask: bool
) -> tuple[list[Node], dict[str, NDArray[np.float32]]]:
    """One layer as vision transformers have it: sliced heads, attention, residuals, norms."""
    size = width // heads
    three = [3, heads, size]
    inputs = ["q", "k", "v", "m"] if mask else ["q", "k", "v"]
    nodes = [
        node("layer_norm", ["x"], "n1", ("weight", "bias"), axes=1, epsilon=1e-5),
        node("linear", ["n1"], "qkv", ("weight", "bias")),
        node("reshape", ["qkv"], "split", shape=[tokens, *three]),
        node("permute", ["split"], "turned", order=[2, 3, 1, 4]),
    ]
    for index, name in enumerate("qkv"):
        nodes.append(node("slice", ["turned"], f"s{name}", axis=1, start=index, stop=index + 1, step=1))
        nodes.append(node("reshape", [f"s{name}"], name, shape=[heads, tokens, size]))
    nodes += [
        node("attention", inputs, "heads", scale=size**-0.5, causal=False, mask="keep" if mask else "none"),
        node("permute", ["heads"], "back", order=[2, 1, 3]),
        node("reshape", ["back"], "joined", shape=[tokens, width]),
        node("linear", ["joined"], "projected", ("weight", "bias")),
        node("add", ["x", "projected"], "r1"),
        node("layer_norm", ["r1"], "n2", ("weight", "bias"), axes=1, epsilon=1e-5),
        node("linear", ["n2"], "up", ("weight", "bias")),
        node("gelu", ["up"], "active", approximate="none"),
        node("linear", ["active"], "down", ("weight", "bias")),
        node("add", ["down", "r1"], "r2"),
        node("slice", ["r2"], "first", axis=1, start=0, stop=1, step=1),
        node("mean", ["r2"], "pooled", axes=[1], keep=False),
    ]
    weights = {f"{name}.{role}": vector(width) for name in ("n1", "n2") for role in ("weight", "bias")}
    for name, rows, columns in (
        ("qkv", 3 * width, width),
        ("projected", width, width),
        ("up", 4 * width, width),
        ("down", width, 4 * width),
    ):
        weights[f"{name}.weight"] = matrix(rows, columns, 0.3)
        weights[f"{name}.bias"] = vector(rows)
    return nodes, weights


def test_encoder_of_a_fixed_length():
    nodes, weights = encoder(37, 24, 3, mask=False)
    agree(file_of(nodes, {"x": (37, 24)}, weights), {"x": (37, 24)})


def test_encoder_of_a_free_length():
    nodes, weights = encoder("s", 24, 3, mask=True)
    inputs: dict[str, Shape] = {"x": ("s", 24), "m": (1, 1, "s")}
    agree(file_of(nodes, inputs, weights, longest=40), inputs, lengths=(40, 1, 17, 16, 40, 33, 2))


@pytest.mark.parametrize("mask", ["none", "add", "keep"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(mask, causal):
    inputs: dict[str, Shape] = {"q": (2, 19, 8), "k": (2, 23, 8), "v": (2, 23, 5)}
    if mask != "none":
        inputs["m"] = (1, 19, 23)
    nodes = [node("attention", list(inputs), "y", scale=0.3, causal=causal, mask=mask)]
    agree(file_of(nodes, inputs, {}), inputs)


@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul(transpose_b):
    inputs: dict[str, Shape] = {"a": (3, 7, 11), "b": (1, 5, 11) if transpose_b else (1, 11, 5)}
    nodes = [node("matmul", ["a", "b"], "y", transpose_b=transpose_b)]
    agree(file_of(nodes, inputs, {}), inputs, batches=(1, 17))


@pytest.mark.parametrize("op", ["lstm", "gru"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_recurrent(op, reverse, given):
    gates = {"lstm": 4, "gru": 3}[op]
    roles = ("input", "hidden", "bias") + (("hidden_bias",) if op == "gru" else ())
    inputs: dict[str, Shape] = {"x": ("s", 10)}
    if given:
        inputs |= {"h": (21,)} | ({"c": (21,)} if op == "lstm" else {})
    weights = {"y.input": matrix(gates * 21, 10, 0.3), "y.hidden": matrix(gates * 21, 21, 0.3)}
    weights |= {"y.bias": vector(gates * 21)} | ({"y.hidden_bias": vector(21)} if op == "gru" else {})
    nodes = [node(op, list(inputs), "y", roles, reverse=reverse)]
    agree(file_of(nodes, inputs, weights, longest=20), inputs, lengths=(20, 1, 7, 20))


@pytest.mark.parametrize(("op", "gates"), [("lstm", 4), ("gru", 3)])
def test_a_dropped_weight_of_a_recurrent_layer_never_meets_nan(op, gates):
    """Two units that share no weight: what is wrong with one stays there."""
    alone = (
        np.tile(np.eye(2, dtype=np.float32), (gates, 1)) * 0.5
    )  # a row of gate and unit reads its own unit
    weights = {"y.input": np.tile(np.float32([[1.0], [0.0]]), (gates, 1)), "y.hidden": alone}
    weights["y.bias"] = vector(gates * 2)
    inputs: dict[str, Shape] = {"x": (5, 1)}
    data = file_of([node(op, ["x"], "y", ("input", "hidden", "bias"), reverse=False)], inputs, weights)
    session = gossamer.load(data, engine="native")
    assert "dense_columns" in session.layers()[0]["kernel"]
    assert session.layers()[0]["bytes"] >= 64 * 2 * 4  # two columns of 64 rows, most of them padding
    x = np.ones((1, 5, 1), np.float32)
    fine = session.run({"x": x})["y"]
    x[0, 2] = np.nan
    found = session.run({"x": x})["y"]
    np.testing.assert_array_equal(found[..., 1], fine[..., 1])
    assert np.isnan(found[0, :, 0]).tolist() == [False, False, True, True, True]


def test_joins_and_constants_follow_the_length():
    inputs: dict[str, Shape] = {"x": ("s", 6)}
    nodes = [
        node("linear", ["x"], "t", ("weight",)),
        node("constant", ["x"], "places", ("value",), shape=["s", 6]),
        node("add", ["t", "places"], "placed"),
        node("constant", ["x"], "token", ("value",), shape=[1, 6]),
        node("concat", ["token", "placed"], "all", axis=1),
        node("softmax", ["all"], "shares", axis=1),
        node("permute", ["all"], "turned", order=[2, 1]),
        node("reshape", ["placed"], "split", shape=["s", 2, 3]),
        node("flip", ["placed"], "flipped", axes=[1]),
    ]
    weights = {"t.weight": matrix(6, 6, 0.5), "places.value": vector(19 * 6), "token.value": vector(6)}
    agree(file_of(nodes, inputs, weights, longest=19), inputs, lengths=(19, 3, 1, 18))


POOLS = {
    "max_pool2d": {"kernel": [3, 2], "stride": [2, 1], "padding": [1, 1, 1, 1], "dilation": [1, 1]},
    "avg_pool2d": {"kernel": [2, 3], "stride": [2, 1], "padding": [1, 1, 1, 1], "count_include_pad": False},
    "adaptive_avg_pool2d": {"output": [2, 3]},
}


@pytest.mark.parametrize("shape", [(3, "s", 5), (3, 5, "s")])
@pytest.mark.parametrize("op", list(POOLS))
def test_pools_see_the_present_length_alone(op: str, shape: Shape) -> None:
    inputs = {"x": shape}
    nodes = [node("affine", ["x"], "low", scale=1.0, shift=-9.0), node(op, ["low"], "y", **POOLS[op])]
    agree(file_of(nodes, inputs, {}, 9), inputs, (9, 8, 5, 2, 1, 9))


def test_an_addition_that_repeats_at_the_least_length_alone() -> None:
    """At 16 both operands are equal, at 1 one is repeated: nothing may rely on equal shapes."""
    nodes = [
        Node(op=op, name=op, inputs=inputs, outputs=(op,), attributes={}, weights=weights)
        for op, inputs, weights in (
            ("linear", ("x",), {"weight": "w"}),
            ("add", ("linear", "y"), {}),
            ("relu", ("add",), {}),
        )
    ]
    for symbol_first in (True, False):
        shapes: dict[str, Shape] = (
            {"x": ("s", 6), "y": (16, 6)} if symbol_first else {"x": (16, 6), "y": ("s", 6)}
        )
        network = Network(
            name="repeats",
            dims={"n": FreeDim(min=1, max=17), "s": FreeDim(min=1, max=16)},
            inputs=tuple(Input(name=name, shape=("n", *shape)) for name, shape in shapes.items()),
            outputs=(Output(name="relu", value="relu"),),
            nodes=tuple(nodes),
        )
        values = rng.standard_normal((6, 6)).astype(np.float32)
        stored = {"w": pack(values, None, format="dense", dtype="float32")}
        agree(packed_file.to_bytes(Manifest(network=network), stored), shapes, (16, 1))
