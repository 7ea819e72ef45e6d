"""The rules of operators: each broken once, the sentence names the node, what was expected and what was found."""

import pytest

from gossamer.errors import GraphError
from gossamer.graph import FreeDim, Input, Network, Node, Output, WeightInfo, validate

CONV = {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1, 1, 1], "dilation": [1, 1], "groups": 1}
POOL = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0, 0, 0]}
IMAGE = ("n", 4, 6, 5)


def shape(
    op: str, *inputs: tuple, attributes: dict | None = None, **weights: WeightInfo
) -> list[tuple[int, ...]]:
    """Output shapes of one node at n = 2 and n = 5."""
    names = tuple(f"x{i}" for i in range(len(inputs)))
    network = Network(
        name="one",
        dims={"n": FreeDim(min=2, max=5)},
        inputs=tuple(Input(name=n, shape=s) for n, s in zip(names, inputs, strict=True)),
        outputs=(Output(name="y", value="v"),),
        nodes=(
            Node(
                op=op,
                name="it",
                inputs=names,
                outputs=("v",),
                attributes=attributes or {},
                weights={r: r for r in weights},
            ),
        ),
    )
    found = validate(network, weights)
    return [found.at_min["v"], found.at_max["v"]]


def weight(*size: int, **more: str) -> WeightInfo:
    return WeightInfo(shape=size, **more)


def test_shapes():
    assert shape("conv2d", IMAGE, attributes=CONV, weight=weight(8, 36)) == [(2, 8, 6, 5), (5, 8, 6, 5)]
    assert shape("max_pool2d", IMAGE, attributes={**POOL, "dilation": [1, 1]})[0] == (2, 4, 3, 2)
    assert shape("flatten", IMAGE, attributes={"start": 2})[1] == (5, 4, 30)
    assert shape("linear", ("n", 3, 7), weight=weight(2, 7), bias=weight(2))[0] == (2, 3, 2)
    assert shape("concat", ("n", 3), ("n", 4), attributes={"axis": 1})[0] == (2, 7)
    assert shape("adaptive_avg_pool2d", IMAGE, attributes={"output": [9, 1]})[0] == (2, 4, 9, 1)


BROKEN = {
    "columns": (
        lambda: shape("conv2d", IMAGE, attributes=CONV, weight=weight(8, 35)),
        "kh·kw·I/groups = 36 columns, got 35",
    ),
    "groups": (
        lambda: shape("conv2d", IMAGE, attributes=CONV | {"groups": 3}, weight=weight(6, 9)),
        "groups that divide",
    ),
    "sparse groups": (
        lambda: shape(
            "conv2d", IMAGE, attributes=CONV | {"groups": 2}, weight=weight(8, 18, format="unstructured")
        ),
        "format dense where groups > 1, got unstructured",
    ),
    "bias": (lambda: shape("linear", ("n", 7), weight=weight(2, 7), bias=weight(3)), r"bias of shape \[2\]"),
    "fp16 bias": (
        lambda: shape("linear", ("n", 7), weight=weight(2, 7), bias=weight(2, dtype="float16")),
        "float32 for bias, got float16",
    ),
    "rank": (
        lambda: shape("conv2d", ("n", 4), attributes=CONV, weight=weight(8, 36)),
        r"an input \[N, C, H, W\]",
    ),
    "too large": (
        lambda: shape("avg_pool2d", IMAGE, attributes=POOL | {"kernel": [7, 1], "count_include_pad": True}),
        "fits",
    ),
    "padding": (
        lambda: shape(
            "avg_pool2d", IMAGE, attributes=POOL | {"padding": [0, 2, 0, 0], "count_include_pad": True}
        ),
        r"half the window \(1\), got 2",
    ),
    "stride 0": (
        lambda: shape("conv2d", IMAGE, attributes=CONV | {"stride": [0, 1]}, weight=weight(8, 36)),
        "from 1 to 4096",
    ),
    "float attribute": (
        lambda: shape("softmax", IMAGE, attributes={"axis": 1.0}),
        "integer from 1 to 7, got 1.0",
    ),
    "boolean attribute": (lambda: shape("softmax", IMAGE, attributes={"axis": True}), "got true"),
    "axis": (lambda: shape("softmax", ("n", 3), attributes={"axis": 2}), "less than the rank 2"),
    "missing attribute": (lambda: shape("gelu", IMAGE), "expected the attributes"),
    "choice": (lambda: shape("gelu", IMAGE, attributes={"approximate": "erf"}), "one of"),
    "epsilon": (
        lambda: shape("layer_norm", IMAGE, attributes={"axes": 1, "epsilon": 0}),
        "greater than 0, got 0",
    ),
    "norm weight": (
        lambda: shape("layer_norm", IMAGE, attributes={"axes": 2, "epsilon": 1}, weight=weight(5)),
        r"weight of shape \[30\], got \[5\]",
    ),
    "add": (lambda: shape("add", ("n", 3), ("n", 2)), r"equal those of \[2, 3\] or are 1"),
    "add of a fixed batch": (lambda: shape("add", ("n", 3), (2, 3)), r"same batch, got \[2, 3\]"),
    "one input": (lambda: shape("add", ("n", 3)), "expected 2 inputs, got 1"),
    "concat": (lambda: shape("concat", ("n", 3, 2), ("n", 3, 1), attributes={"axis": 1}), "but for axis 1"),
    "role": (lambda: shape("relu", IMAGE, weight=weight(1)), "expected only the roles"),
    "2^40": (
        lambda: shape("adaptive_avg_pool2d", ("n", 64, 2, 2), attributes={"output": [65536, 65536]}),
        r"at most 2\^40",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken(case: str):
    build, sentence = BROKEN[case]
    with pytest.raises(GraphError, match=sentence) as caught:
        build()
    assert 'node "it"' in str(caught.value)
