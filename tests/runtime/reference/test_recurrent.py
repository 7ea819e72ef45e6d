"""lstm and gru against torch in float64."""

import pytest
import torch
from torch import Tensor, nn

from tests.runtime.one_node import close, randn, run_all

SIZES = [(1, 1, 1, 1), (2, 5, 3, 4), (3, 2, 7, 1)]  # N, S, I, H


def parts(cell: nn.Module) -> dict[str, Tensor]:
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return {name: value for name in names if (value := getattr(cell, name, None)) is not None}


def reversed_if(x: Tensor, reverse: bool) -> Tensor:
    return x.flip(1) if reverse else x


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_lstm(size: tuple[int, ...], bias: bool, given: bool, reverse: bool):
    batch, _, inputs, hidden = size
    torch.manual_seed(1)
    cell, x, h, c = (
        nn.LSTM(inputs, hidden, batch_first=True, bias=bias),
        randn(*size[:3]),
        randn(batch, hidden),
        randn(hidden, batch).T.contiguous(),
    )
    found = parts(cell)
    weights = {"input": found["weight_ih_l0"], "hidden": found["weight_hh_l0"]}
    if bias:
        weights["bias"] = found["bias_ih_l0"] + found["bias_hh_l0"]
    weights = {role: value.detach() for role, value in weights.items()}
    states = (h[None].double(), c[None].double()) if given else None
    y, (last_h, last_c) = cell.double()(reversed_if(x, reverse).double(), states)
    results = run_all("lstm", [x, h, c] if given else [x], weights, reverse=reverse)
    for result, expected in zip(results, (reversed_if(y, reverse), last_h[0], last_c[0]), strict=True):
        close(result, expected.detach())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_gru(size: tuple[int, ...], bias: bool, given: bool, reverse: bool):
    batch, _, inputs, hidden = size
    torch.manual_seed(2)
    cell, x, h = nn.GRU(inputs, hidden, batch_first=True, bias=bias), randn(*size[:3]), randn(batch, hidden)
    found = {name: value.detach() for name, value in parts(cell).items()}
    weights = {"input": found["weight_ih_l0"], "hidden": found["weight_hh_l0"]}
    if bias:  # the hidden biases of r and z join the input's; that of n stands inside the gate's product
        joined = found["bias_ih_l0"].clone()
        joined[: 2 * hidden] += found["bias_hh_l0"][: 2 * hidden]
        weights |= {"bias": joined, "hidden_bias": found["bias_hh_l0"][2 * hidden :].clone()}
    y, last = cell.double()(reversed_if(x, reverse).double(), h[None].double() if given else None)
    results = run_all("gru", [x, h] if given else [x], weights, reverse=reverse)
    for result, expected in zip(results, (reversed_if(y, reverse), last[0]), strict=True):
        close(result, expected.detach())
