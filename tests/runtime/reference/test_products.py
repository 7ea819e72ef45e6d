"""Products with weights and of values against torch. conv2d's weight columns are ordered (kh, kw, c_in)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gossamer.errors import RuntimeFailure
from gossamer.formats import pack
from gossamer.graph import Input, Network, Node, Output
from gossamer.runtime.reference import ReferenceExecutor
from tests.runtime.one_node import close, randn, run

CONVOLUTIONS = {  # channels, outputs, image, kernel, stride, padding (t, l, b, r), dilation, groups
    "1x1": (5, 7, (4, 3), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    "3x3": (3, 4, (7, 5), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    "stride 2": (3, 4, (7, 6), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
    "asymmetric": (2, 3, (6, 7), (3, 2), (2, 1), (0, 1, 1, 0), (1, 1), 1),
    "dilated": (2, 3, (9, 8), (3, 3), (1, 2), (2, 2, 2, 2), (2, 3), 1),
    "grouped": (6, 4, (5, 5), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2),
    "depthwise": (4, 8, (5, 6), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 4),
    "whole image": (3, 2, (4, 5), (4, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    "5x1": (1, 1, (5, 1), (5, 1), (3, 3), (2, 0, 2, 0), (1, 1), 1),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv2d(case: str, bias: bool):
    channels, rows, image, kernel, stride, padding, dilation, groups = CONVOLUTIONS[case]
    x, weight = randn(3, channels, *image), randn(rows, channels // groups, *kernel)
    weights = {"weight": weight.permute(0, 2, 3, 1).reshape(rows, -1)} | (
        {"bias": randn(rows)} if bias else {}
    )
    found = run(
        "conv2d", [x], weights, kernel=list(kernel), stride=list(stride), padding=list(padding),
        dilation=list(dilation), groups=groups,
    )  # fmt: skip
    top, left, bottom, right = padding
    padded = F.pad(x, (left, right, top, bottom))
    close(
        found, F.conv2d(padded, weight, weights.get("bias"), stride=stride, dilation=dilation, groups=groups)
    )


@pytest.mark.parametrize("shape", [(2, 5), (1, 3, 5), (4, 2, 3, 5)])
def test_linear(shape: tuple[int, ...]):
    x, weight, bias = randn(*shape), randn(7, 5), randn(7)
    close(run("linear", [x], {"weight": weight, "bias": bias}), F.linear(x, weight, bias))
    close(run("linear", [x], {"weight": weight}), F.linear(x, weight))


MATMULS = {
    "3d": ((2, 3, 4), (2, 4, 5)),
    "repeated": ((2, 1, 3, 4), (2, 6, 4, 1)),
    "both repeated": ((1, 2, 1, 3, 7), (1, 1, 5, 7, 2)),
    "one": ((3, 1, 1), (3, 1, 1)),
}


@pytest.mark.parametrize("case", MATMULS)
def test_matmul(case: str):
    a, b = (randn(*shape) for shape in MATMULS[case])
    close(run("matmul", [a, b], transpose_b=False), a @ b)
    close(run("matmul", [a, b.transpose(-1, -2).contiguous()], transpose_b=True), a @ b)


ATTENTIONS = {  # q, k, v, mask
    "3d": ((2, 5, 4), (2, 3, 4), (2, 3, 6), (2, 1, 3)),
    "heads": ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 4), (2, 1, 5, 7)),
    "one token": ((1, 2, 1, 3), (1, 2, 1, 3), (1, 2, 1, 1), (1, 2, 1, 1)),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", ["none", "add", "keep"])
@pytest.mark.parametrize("case", ATTENTIONS)
def test_attention(case: str, mask: str, causal: bool):
    q, k, v, m = (randn(*shape) for shape in ATTENTIONS[case])
    bias = torch.zeros(q.shape[-2], k.shape[-2], dtype=torch.float64)
    if mask == "add":
        bias = bias + m
    if mask == "keep":
        m = (m > -0.2).float()
        m[0] = 0  # an example without any pair
        bias = bias + torch.zeros_like(m).masked_fill(m == 0, -torch.inf)
    if causal:
        left_out = ~torch.ones(bias.shape[-2:], dtype=torch.bool).tril()
        bias = bias.masked_fill(left_out, -torch.inf)
    inputs = [q, k, v] if mask == "none" else [q, k, v, m]
    bias = bias.expand(*q.shape[:-1], k.shape[-2])
    expected = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), bias, scale=0.3)
    close(run("attention", inputs, scale=0.3, causal=causal, mask=mask), expected)
    if mask == "keep":
        assert not run("attention", inputs, scale=0.3, causal=causal, mask=mask)[0].any()


def test_attention_of_nan_and_infinity():
    q, k, v = randn(1, 3, 2), randn(1, 4, 2), randn(1, 4, 2)
    k[0, 1, 0] = torch.nan
    v[0, 2, 1] = torch.inf
    expected = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    close(run("attention", [q, k, v], scale=1, causal=False, mask="none"), expected)


def test_embedding():
    table, indices = randn(7, 3), torch.tensor([[0, 6], [3, 3]])
    close(run("embedding", [indices.float()], {"weight": table}), F.embedding(indices, table))
    for wrong in (-1.0, 7.0, 0.5, torch.nan):
        with pytest.raises(RuntimeFailure, match="whole numbers from 0 to 6"):
            run("embedding", [torch.tensor([[wrong]])], {"weight": table})


def test_dropped_weights_contribute_nothing_even_against_nan():
    x = torch.tensor([[torch.nan, 1.0, torch.inf]])
    weight = np.array([[1.0, 2.0, 0.0], [0.0, 2.0, 0.0], [0.0, 2.0, 3.0]], np.float32)
    kept = weight != 0
    network = Network(
        name="one",
        inputs=(Input(name="x", shape=(1, 3)),),
        outputs=(Output(name="y", value="y"),),
        nodes=(Node(op="linear", name="fc", inputs=("x",), outputs=("y",), weights={"weight": "w"}),),
    )
    stored = {"w": pack(weight, kept, format="unstructured", dtype="float32")}
    found = ReferenceExecutor(network, stored).run({"x": x.numpy()})["y"]
    np.testing.assert_array_equal(found, [[np.nan, 2.0, np.inf]])
