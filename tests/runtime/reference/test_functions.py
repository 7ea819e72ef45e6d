"""Functions of single numbers against torch in float64, with NaN, infinities and zeros of both signs."""

import pytest
import torch
import torch.nn.functional as F

from tests.runtime.one_node import close, randn, run

POINTWISE = {
    "relu": ({}, F.relu),
    "relu6": ({}, F.relu6),
    "silu": ({}, F.silu),
    "sigmoid": ({}, torch.sigmoid),
    "gelu": ({"approximate": "none"}, F.gelu),
    "gelu tanh": ({"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
    "softmax": ({"axis": 1}, lambda x: F.softmax(x, dim=1)),
    "softmax last": ({"axis": 2}, lambda x: F.softmax(x, dim=2)),
}


@pytest.mark.parametrize("case", POINTWISE)
def test_pointwise(case: str):
    attributes, expected = POINTWISE[case]
    x = 50 * randn(3, 4, 5)
    x[0, 0] = torch.tensor([0.0, -0.0, 200.0, -200.0, 6.0])
    close(run(case.split()[0], [x], **attributes), expected(x))


FUNCTIONS = {
    **{
        name: ({}, getattr(torch, name))
        for name in (
            "tanh",
            "exp",
            "log",
            "sqrt",
            "rsqrt",
            "abs",
            "neg",
            "erf",
            "sin",
            "cos",
            "floor",
            "sign",
        )
    },
    "hardswish": ({}, F.hardswish),
    "hardsigmoid": ({}, F.hardsigmoid),
    "mish": ({}, F.mish),
    "leaky_relu": ({"slope": 0.25}, lambda x: F.leaky_relu(x, 0.25)),
    "leaky_relu negative": ({"slope": -1}, lambda x: F.leaky_relu(x, -1.0)),
    "elu": ({"alpha": 1.5}, lambda x: F.elu(x, 1.5)),
    "softplus": ({"beta": 1, "threshold": 20}, F.softplus),
    "softplus steep": ({"beta": 4.0, "threshold": 2.5}, lambda x: F.softplus(x, 4.0, 2.5)),
    "clamp": ({"low": -1, "high": 0.5}, lambda x: x.clamp(-1, 0.5)),
    "clamp low": ({"low": 0.25, "high": None}, lambda x: x.clamp(min=0.25)),
    "clamp high": ({"low": None, "high": 0.25}, lambda x: x.clamp(max=0.25)),
    "clamp crossed": ({"low": 2, "high": 1}, lambda x: x.clamp(2, 1)),
    "affine": ({"scale": -2.5, "shift": 1}, lambda x: -2.5 * x + 1),
    "power": ({"exponent": 3}, lambda x: x**3),
    "power 1/2": ({"exponent": 0.5}, lambda x: x**0.5),
    "power -2": ({"exponent": -2}, lambda x: x**-2),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions(case: str):
    attributes, expected = FUNCTIONS[case]
    x = 3 * randn(2, 3, 7)
    x[0, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1.0, -3.0])
    found, wanted = run(case.split()[0], [x], **attributes), expected(x.double())
    close(found, wanted)
    assert torch.equal(found.isnan(), wanted.isnan())
