"""SparseConv2d against dense torch in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer.errors import EngineError
from gossamer.training.compact import SparseConv2d
from tests.training.helpers import check_frozen_values

SETTINGS: list[dict[str, Any]] = [
    {"padding": 1},
    {"stride": 2, "padding": (1, 0), "bias": False},
    {"kernel_size": 1},
    {"dilation": 2, "padding": "same"},
    {"kernel_size": (2, 4), "padding": "same"},
    {"padding": 1, "padding_mode": "circular"},
    {"groups": 2, "padding": "valid"},
]


def pair(settings: dict[str, Any], pattern: str = "unstructured") -> tuple[SparseConv2d, nn.Conv2d]:
    dense = nn.Conv2d(4, 6, **{"kernel_size": 3, **settings}).double()
    size = dense.weight.numel()
    layer = SparseConv2d(dense, num_kept=size // 12 * 6, capacity=size // 12 * 8, pattern=pattern, seed=0)
    return layer, layer.to_dense()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equals_the_dense_layer(settings: dict[str, Any], layout: torch.memory_format) -> None:
    layer, dense = pair(settings)
    x = torch.randn(3, 4, 9, 8, dtype=torch.float64).to(memory_format=layout)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = layer(ours), dense(theirs)
    assert y.is_contiguous(memory_format=layout) or settings.get("padding_mode")
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    y.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    assert layer.values.grad is not None
    assert dense.weight.grad is not None
    matrix = dense.weight.grad.movedim(1, -1).reshape(6, -1).flatten()
    kept = layer.num_kept
    torch.testing.assert_close(layer.values.grad[:kept], matrix[layer.positions()], rtol=1e-12, atol=1e-12)
    assert layer.values.grad[kept:].count_nonzero() == 0
    if layer.bias is not None:
        assert dense.bias is not None
        torch.testing.assert_close(layer.bias.grad, dense.bias.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pattern", ["unstructured", "block:2x2"])
def test_gradcheck_of_the_native_products(pattern: str) -> None:
    layer, _ = pair({"padding": 1}, pattern)
    assert layer.bias is not None
    x = torch.randn(2, 4, 4, 3, dtype=torch.float64, requires_grad=True)

    def apply(values: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(layer, {"values": values, "bias": bias}, (x,))
        return found

    assert torch.autograd.gradcheck(apply, (layer.values, layer.bias, x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_frozen_values_need_no_input_and_give_its_gradient_in_its_layout(layout: torch.memory_format) -> None:
    layer, _ = pair({"padding": 1, "bias": False})
    x = torch.randn(3, 4, 9, 8, dtype=torch.float64).to(memory_format=layout)
    check_frozen_values(layer, x)


def test_one_image_without_a_batch() -> None:
    layer, dense = pair({"padding": 1})
    x = torch.randn(4, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), dense(x), rtol=1e-12, atol=1e-12)


def test_what_cannot_be_an_image_is_refused() -> None:
    layer, _ = pair({})
    with pytest.raises(EngineError, match=r"\[N, 4, H, W\], got \[3, 5, 9, 8\]"):
        layer(torch.zeros(3, 5, 9, 8, dtype=torch.float64))
    with pytest.raises(EngineError, match="On CUDA training is masked"):
        layer(torch.zeros(3, 4, 9, 8, device="meta"))
