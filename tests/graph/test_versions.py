"""What needs format version 2, and the rules that came with it: each broken once."""

from dataclasses import replace

import pytest

from gossamer.errors import GraphError
from gossamer.graph import FreeDim, Input, Network, Node, Output, State, WeightInfo, infer_shapes, validate

X = Input(name="x", shape=("n", "s", 4))
FIXED = Input(name="x", shape=("n", 3, 4))
H = Input(name="h", shape=("n", 2))
DIMS = {"n": FreeDim(min=1, max=4), "s": FreeDim(min=2, max=6)}


def network(
    op: str, *inputs: Input, outputs: int = 1, roles: tuple[str, ...] = (), **attributes: object
) -> Network:
    used = {size for item in inputs for size in item.shape}
    names = tuple(f"y{index}" for index in range(outputs))
    return Network(
        name="one",
        dims={symbol: dim for symbol, dim in DIMS.items() if symbol in used},
        inputs=inputs,
        outputs=tuple(Output(name=name, value=name) for name in names),
        nodes=(
            Node(
                op=op,
                name="it",
                inputs=tuple(item.name for item in inputs),
                outputs=names,
                attributes=attributes,  # type: ignore[arg-type]
                weights={role: role for role in roles},
            ),
        ),
    )


def weights(**shapes: tuple[int, ...]) -> dict[str, WeightInfo]:
    return {role: WeightInfo(shape=shape) for role, shape in shapes.items()}


def other(name: str, *shape: int | str) -> Input:
    return Input(name=name, shape=shape)


NEEDS_2 = {
    "operator": (network("tanh", FIXED), 'the node "it" (tanh)'),
    "length": (network("relu", X), 'the length symbol "s"'),
    "integers": (network("relu", replace(FIXED, dtype="int64")), 'the input "x" of dtype int64'),
    "repeating add": (
        network("add", FIXED, other("b", "n", 1, 4)),
        'the node "it" (add) of different shapes',
    ),
    "state": (
        replace(network("add", FIXED, other("h", "n", 3, 4)), states=(State(input="h", output="y0"),)),
        'the state "h"',
    ),
}


@pytest.mark.parametrize("case", NEEDS_2)
def test_needs_version_2(case: str):
    found, sentence = NEEDS_2[case]
    assert validate(found, {}).version == 2
    with pytest.raises(GraphError, match="expected what format version 1 can hold") as caught:
        validate(found, {}, version=1)
    assert sentence in str(caught.value)


def test_needs_version_1_alone():
    for found in (network("relu", FIXED), network("add", FIXED, other("b", "n", 3, 4))):
        assert validate(found, {}, version=1).version == 1


def test_shapes_follow_the_length():
    found = network("reshape", X, shape=["s", 2, -1])
    assert infer_shapes(found, {}, {"n": 3, "s": 5})["y0"] == (3, 5, 2, 2)
    ends = validate(found, {})
    assert (ends.at_min["y0"], ends.at_max["y0"]) == ((1, 2, 2, 2), (4, 6, 2, 2))


def test_a_constant_is_stored_at_the_greatest_length():
    found = network("constant", X, roles=("value",), shape=["s", 3])
    assert infer_shapes(found, weights(value=(18,)), {"n": 1, "s": 4})["y0"] == (1, 4, 3)
    with pytest.raises(GraphError, match=r"value of shape \[18\], got \[12\]"):
        validate(found, weights(value=(12,)))


def test_recurrent_outputs():
    found = network("lstm", X, outputs=3, roles=("input", "hidden"), reverse=False)
    shapes = validate(found, weights(input=(8, 4), hidden=(8, 2))).at_max
    assert [shapes[name] for name in ("y0", "y1", "y2")] == [(4, 6, 2), (4, 2), (4, 2)]


GATES = weights(input=(8, 4), hidden=(8, 2))
PAD = {"before": [0, 1], "after": [0, 1], "mode": "reflect", "value": 0}
ATTENTION = {"scale": 1, "causal": False, "mask": "none"}
UPSAMPLE = {"output": [2, 2], "scale": [1, 1], "mode": "nearest", "align_corners": False}
SLICE = {"axis": 1, "start": 0, "stop": None, "step": 1}
IMAGE = other("x", "n", 4, 3, 3)
BROKEN: dict[str, tuple[Network, dict[str, WeightInfo], str]] = {
    "sizes": (network("mul", X, other("b", "n", "s", 3)), {}, r"equal those of \[1, 2, 4\] or are 1"),
    "rank": (network("mul", X, other("b", "n", "s")), {}, "the same batch"),
    "axes": (network("mean", X, axes=[2, 1], keep=True), {}, "ascending, distinct axes"),
    "no axes": (network("mean", X, axes=[], keep=True), {}, "1 to 7 integers"),
    "axis": (network("argmax", X, axis=3, keep=True), {}, "less than the rank 3"),
    "two rests": (network("reshape", X, shape=[-1, -1]), {}, "at most one -1"),
    "rest of a float": (network("reshape", X, shape=[-1.0, -1]), {}, "integer from 1"),
    "count": (network("reshape", X, shape=["s", 3]), {}, r"a shape of 8 numbers like that of \[1, 2, 4\]"),
    "symbol": (network("reshape", X, shape=["n", -1]), {}, "the length symbol s alone"),
    "no length": (network("reshape", FIXED, shape=["s", -1]), {}, "the length symbol None alone"),
    "one end": (network("expand", X, shape=[2, 4]), {}, "can be repeated to"),
    "order": (network("permute", X, order=[1, 1]), {}, "each axis from 1 to 2 once"),
    "order of few": (network("permute", X, order=[1]), {}, "an order of 2 axes"),
    "empty slice": (network("slice", X, **SLICE | {"start": 2}), {}, "at least one element of axis 1"),
    "step": (network("slice", X, **SLICE | {"step": 0}), {}, "integer from 1"),
    "reflected": (network("pad", X, **PAD | {"before": [2, 0]}), {}, "to be reflected"),
    "fill": (network("pad", X, **PAD | {"value": 1}), {}, "the value 0 in this mode"),
    "after": (network("pad", X, **PAD | {"after": [0]}), {}, "before and after of 2 axes"),
    "factor": (network("pixel_shuffle", IMAGE, factor=[3, 1], order="phase_major"), {}, "that 3 divides"),
    "scale": (network("upsample", IMAGE, **UPSAMPLE | {"scale": [0, 1]}), {}, "greater than 0"),
    "large scale": (network("upsample", IMAGE, **UPSAMPLE | {"scale": [1, 1e9]}), {}, "at most 65536"),
    "groups": (network("group_norm", IMAGE, groups=3, epsilon=1), {}, "groups that divide 4 channels"),
    "terms": (network("matmul", X, other("b", "n", 3, 4), transpose_b=False), {}, "4 terms of each sum"),
    "mask": (network("attention", X, other("k", "n", 3, 4), other("v", "n", 3, 4), **ATTENTION | {"mask": "add"}), {}, "a fourth input"),
    "keys": (network("attention", X, other("k", "n", 3, 5), other("v", "n", 3, 4), **ATTENTION), {}, r"k \[N, ..., S, D\]"),
    "outputs": (network("lstm", X, outputs=2, roles=("input", "hidden"), reverse=False), GATES, "expected 3 outputs, got 2"),
    "gates": (network("gru", X, outputs=2, roles=("input", "hidden"), reverse=False), GATES, r"of shape \[6, [24]\]"),
    "one state": (network("lstm", X, H, outputs=3, roles=("input", "hidden"), reverse=False), GATES, "both states h and c or none"),
    "half a bias": (
        network("gru", X, outputs=2, roles=("input", "hidden", "hidden_bias"), reverse=False),
        {**weights(input=(6, 4), hidden=(6, 2)), "hidden_bias": WeightInfo(shape=(2,), dtype="float16")},
        "float32 for hidden_bias",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken(case: str):
    found, stored, sentence = BROKEN[case]
    with pytest.raises(GraphError, match=sentence):
        validate(found, stored)


def test_sizes_that_shrink_while_the_length_grows():
    dims = {"s": FreeDim(min=4, max=6)}
    middle = replace(network("slice", other("x", 1, "s"), **SLICE | {"start": -4, "stop": 3}), dims=dims)
    with pytest.raises(
        GraphError, match=r'"y0": expected no size to shrink .* \[1, 3\] at its minimum and \[1, 1\]'
    ):
        validate(middle, {})


STATES = {
    "name": ([State(input="z", output="y0")], "the name of an input"),
    "output": ([State(input="h", output="z")], "the name of an output"),
    "twice": ([State(input="h", output="y1"), State(input="h", output="y2")], "distinct inputs of states"),
    "shape": ([State(input="h", output="y0")], r"to have its shape \[1, 2\], got \[1, 2, 2\]"),
    "length": ([State(input="x", output="y0")], "without the length symbol"),
}


@pytest.mark.parametrize("case", STATES)
def test_states(case: str):
    states, sentence = STATES[case]
    c = other("c", "n", 2)
    base = network("lstm", X, H, c, outputs=3, roles=("input", "hidden"), reverse=False)
    assert validate(replace(base, states=(State(input="h", output="y1"),)), GATES).version == 2
    with pytest.raises(GraphError, match=sentence):
        validate(replace(base, states=tuple(states)), GATES)


def test_not_everything_is_a_state():
    base = network("relu", H)
    with pytest.raises(GraphError, match="an input that is no state"):
        validate(replace(base, states=(State(input="h", output="y0"),)), {})
    fixed = network("add", H, other("x", 1, 2))
    with pytest.raises(GraphError, match='the symbol "n" in an input that is no state'):
        validate(replace(fixed, states=(State(input="h", output="y0"),)), {})


def test_symbols():
    for shape, sentence in (
        (("n", "n"), "one symbol for first dimensions and another elsewhere"),
        (("n", "s", "t"), 'expected "s" behind the first dimension, got "t"'),
    ):
        with pytest.raises(GraphError, match=sentence):
            validate(network("relu", other("x", *shape)), {})
    with pytest.raises(GraphError, match="a dtype of"):
        validate(network("relu", replace(X, dtype="int32")), {})
