"""The NumPy executor against torch.nn.functional, on odd shapes. conv2d's weight columns are ordered (kh, kw, c_in)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gossamer.formats import pack
from gossamer.graph import OPERATORS, FreeDim, Input, Network, Node, Output, validate
from gossamer.runtime.reference import OPERATIONS, ReferenceExecutor


def run(
    op: str, inputs: list[Tensor], weights: dict[str, Tensor] | None = None, **attributes: object
) -> Tensor:
    """One node through shape rules and executor; the inferred shape must be that of the result."""
    names = tuple(f"x{index}" for index in range(len(inputs)))
    stored = {
        role: pack(value.numpy(), None, format="dense", dtype="float32")
        for role, value in (weights or {}).items()
    }
    network = Network(
        name="one",
        dims={"n": FreeDim(min=1, max=9)},
        inputs=tuple(Input(name=n, shape=("n", *x.shape[1:])) for n, x in zip(names, inputs, strict=True)),
        outputs=(Output(name="y", value="v"),),
        nodes=(
            Node(
                op=op,
                name=op,
                inputs=names,
                outputs=("v",),
                attributes=attributes,
                weights={r: r for r in stored},
            ),  # type: ignore[arg-type]
        ),
    )
    shapes = validate(network, stored)
    arrays = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    result = ReferenceExecutor(network, stored).run(arrays)["y"]
    assert result.dtype == np.float32
    assert (
        result.shape
        == (inputs[0].shape[0], *shapes.at_min["v"][1:])
        == (inputs[0].shape[0], *shapes.at_max["v"][1:])
    )
    return torch.from_numpy(result)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_every_operator_has_an_operation():
    assert set(OPERATIONS) <= set(OPERATORS)


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


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3), (1, 5, 2, 3)])
def test_channel_affine(shape: tuple[int, ...]):
    x, scale, shift = randn(*shape), randn(5), randn(5)
    view = (-1, *(1,) * (len(shape) - 2))
    close(
        run("channel_affine", [x], {"scale": scale, "shift": shift}), x * scale.view(view) + shift.view(view)
    )


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(axes: int, affine: bool):
    x = randn(2, 3, 5)
    tail = x.shape[3 - axes :]
    weights = {"weight": randn(*tail).flatten(), "bias": randn(*tail, 1).flatten()} if affine else {}
    expected = F.layer_norm(x, tail, *(value.view(tail) for value in weights.values()), eps=1e-3)
    close(run("layer_norm", [x], weights, axes=axes, epsilon=1e-3), expected)


POINTWISE = {
    "relu": ({}, F.relu),
    "relu6": ({}, F.relu6),
    "silu": ({}, F.silu),
    "sigmoid": ({}, torch.sigmoid),
    "gelu": ({"approximate": "none"}, F.gelu),
    "gelu tanh": ({"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
    "softmax": ({"axis": 1}, lambda x: F.softmax(x, dim=1)),
    "softmax last": ({"axis": 2}, lambda x: F.softmax(x, dim=2)),
    "flatten": ({"start": 1}, lambda x: x.flatten(1)),
    "flatten late": ({"start": 2}, lambda x: x.flatten(2)),
}


@pytest.mark.parametrize("case", POINTWISE)
def test_pointwise(case: str):
    attributes, expected = POINTWISE[case]
    x = 50 * randn(3, 4, 5)
    x[0, 0] = torch.tensor([0.0, -0.0, 200.0, -200.0, 6.0])
    close(run(case.split()[0], [x], **attributes), expected(x))


def test_add_and_concat():
    a, b, c = randn(2, 3, 4), randn(2, 3, 4) + 1, randn(2, 5, 4)
    close(run("add", [a, b]), a + b)
    close(run("concat", [a, c, b], axis=1), torch.cat([a, c, b], 1))


POOLS = {  # image, kernel, stride, padding (h, w), dilation
    "2x2": ((4, 6), (2, 2), (2, 2), (0, 0), (1, 1)),
    "odd": ((7, 5), (3, 3), (2, 2), (1, 1), (1, 1)),
    "uneven": ((6, 9), (2, 3), (1, 2), (1, 0), (1, 1)),
    "dilated": ((7, 8), (2, 3), (1, 2), (1, 1), (2, 2)),
}


@pytest.mark.parametrize("case", POOLS)
def test_pools(case: str):
    image, kernel, stride, padding, dilation = POOLS[case]
    x = randn(2, 3, *image)
    window = {"kernel": list(kernel), "stride": list(stride), "padding": [*padding, *padding]}
    found = run("max_pool2d", [x], **window, dilation=list(dilation))
    close(found, F.max_pool2d(x, kernel, stride, padding, dilation))
    for count in (True, False):
        found = run("avg_pool2d", [x], **window, count_include_pad=count)
        close(found, F.avg_pool2d(x, kernel, stride, padding, count_include_pad=count))


@pytest.mark.parametrize("output", [(1, 1), (2, 3), (5, 7), (9, 2)])
def test_adaptive_avg_pool2d(output: tuple[int, int]):
    x = randn(2, 3, 7, 5)
    close(run("adaptive_avg_pool2d", [x], output=list(output)), F.adaptive_avg_pool2d(x, output))
