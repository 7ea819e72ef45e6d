"""SparseLinear against dense torch in float64: function, gradients, layouts, and what it refuses."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gossamer.errors import EngineError, PatternError
from gossamer.training.compact import CompactLayer, SparseLinear
from tests.training.helpers import check_frozen_values

CASES = [("unstructured", 40), ("block:2x1", 40), ("block:2x3", 36), ("2:4", 48)]


def layer_of(pattern: str = "unstructured", num_kept: int = 40, capacity: int | None = None) -> SparseLinear:
    return SparseLinear(
        12, 8, num_kept=num_kept, capacity=capacity, pattern=pattern, seed=1, dtype=torch.float64
    )


def apply(layer: SparseLinear, values: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    found: Tensor = torch.func.functional_call(layer, {"values": values, "bias": bias}, (x,))
    return found


@pytest.mark.parametrize(("pattern", "num_kept"), CASES)
def test_gradcheck_of_the_native_products(pattern: str, num_kept: int) -> None:
    layer = layer_of(pattern, num_kept)
    assert layer.bias is not None
    x = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, b, x: apply(layer, v, b, x), (layer.values, layer.bias, x))


@pytest.mark.parametrize(("pattern", "num_kept"), CASES)
@pytest.mark.parametrize("shape", [(12,), (5, 12), (40, 12), (2, 3, 12), (0, 12)])
def test_equals_the_dense_layer(pattern: str, num_kept: int, shape: tuple[int, ...]) -> None:
    layer, x = layer_of(pattern, num_kept, capacity=72), torch.randn(shape, dtype=torch.float64)
    dense = layer.to_dense()
    assert torch.equal(dense.weight != 0, layer.mask())
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer(ours).pow(2).sum().backward()
    dense(theirs).pow(2).sum().backward()
    torch.testing.assert_close(layer(x), dense(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    assert layer.values.grad is not None
    assert dense.weight.grad is not None
    assert layer.bias is not None
    assert layer.bias.grad is not None
    kept = dense.weight.grad.flatten()[layer.positions()]
    torch.testing.assert_close(layer.values.grad[:num_kept], kept, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.bias.grad, dense.bias.grad, rtol=1e-12, atol=1e-12)
    assert layer.values.grad[num_kept:].tolist() == [0.0] * (72 - num_kept)


def test_feature_major_activations_are_passed_on_and_give_the_same_results() -> None:
    layer, x = layer_of(), torch.randn(64, 12, dtype=torch.float64)
    turned = x.T.contiguous().T
    y = layer(turned)
    assert y.T.is_contiguous()
    assert not y.is_contiguous()
    torch.testing.assert_close(y, layer(x), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(layer(x[::2]), F.linear(x[::2], layer.dense_weight(), layer.bias))


def test_no_gradient_is_made_that_nobody_needs() -> None:
    layer, x = layer_of(), torch.randn(4, 12, dtype=torch.float64)
    layer.values.requires_grad_(False)
    y = layer(x.requires_grad_())
    y.sum().backward()
    assert layer.values.grad is None
    assert x.grad is not None
    inputs = torch.randn(4, 12, dtype=torch.float64)
    layer.values.requires_grad_(True)
    layer(inputs).sum().backward()
    assert inputs.grad is None
    assert layer.values.grad is not None


@pytest.mark.parametrize("feature_major", [False, True])
def test_frozen_values_need_no_input_and_give_its_gradient_in_its_layout(feature_major: bool) -> None:
    layer, x = layer_of(), torch.randn(40, 12, dtype=torch.float64)
    x = x.T.contiguous().T if feature_major else x
    check_frozen_values(layer, x)


def test_autocast_computes_in_float32() -> None:
    layer = SparseLinear(12, 8, num_kept=40, seed=1)
    x = torch.randn(4, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = x.to(torch.bfloat16).requires_grad_()
        y = layer(half)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_second_derivatives_are_refused() -> None:
    layer, x = layer_of(), torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).pow(2).sum(), x, create_graph=True)
    with pytest.raises(EngineError, match="first derivatives only"):
        gradient.pow(2).sum().backward()


def test_what_is_not_on_the_cpu_or_of_another_type_is_refused() -> None:
    layer = layer_of()
    with pytest.raises(EngineError, match="On CUDA training is masked"):
        layer(torch.empty(3, 12, device="meta"))
    with pytest.raises(EngineError, match=r"float64, got torch\.float32"):
        layer(torch.zeros(3, 12))
    with pytest.raises(EngineError, match=r"\[\.\.\., 12\], got \[3, 11\]"):
        layer(torch.zeros(3, 11, dtype=torch.float64))
    with pytest.raises(EngineError, match="float32 or float64"):
        layer.half()(torch.zeros(3, 12, dtype=torch.float16))


def test_places_drawn_and_values_begin_as_those_of_the_dense_layer() -> None:
    layer = SparseLinear(400, 300, num_kept=30_000, capacity=40_000, seed=0)
    values = layer.values.detach()
    assert layer.num_kept == 30_000
    assert layer.mask().sum() == 30_000
    assert values[:30_000].abs().max() <= 1 / 20
    assert values[30_000:].count_nonzero() == 0
    assert abs(float(values[:30_000].std()) - 1 / 20 / 3**0.5) < 1e-3  # uniform in +-1/sqrt(fan in)
    assert torch.equal(layer.places, SparseLinear(400, 300, num_kept=30_000, capacity=40_000, seed=0).places)
    assert not torch.equal(layer.places, SparseLinear(400, 300, num_kept=30_000, capacity=40_000).places)


def test_saves_copies_and_loads() -> None:
    layer, x = layer_of(capacity=50), torch.randn(3, 12, dtype=torch.float64)
    expected = layer(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = SparseLinear(12, 8, num_kept=3, capacity=50, seed=9, dtype=torch.float64)
    other(x)  # its handle has other places
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), expected)
    assert other.num_kept == 40
    assert torch.equal(copy.deepcopy(layer)(x), expected)


def test_a_dense_weight_gives_the_kept_places_their_values_and_must_be_zero_elsewhere() -> None:
    layer = layer_of(capacity=50)
    dense = layer.to_dense()
    with torch.no_grad():
        dense.weight.mul_(2)
    layer.load_state_dict(dense.state_dict())
    assert torch.equal(layer.dense_weight(), dense.weight)
    with torch.no_grad():
        dense.weight[~layer.mask()] = 1.0
    with pytest.raises(RuntimeError, match="expected zeros outside the 40 kept places"):
        layer.load_state_dict(dense.state_dict())


def test_the_handle_is_that_of_the_places_of_now() -> None:
    """Buffers may be replaced (load_state_dict with assign=True), twice between two products: a new one may lie where an old one was."""
    layer, first, second = (SparseLinear(6, 5, num_kept=8, seed=seed) for seed in range(3))
    x = torch.randn(3, 6)
    for _ in range(20):
        layer.places = first.places.clone()
        layer(x)
        layer.places = torch.zeros(1, dtype=torch.uint8)
        layer.places = second.places.clone()
        assert torch.allclose(layer(x), F.linear(x, layer.dense_weight(), layer.bias), atol=1e-6)


def test_a_layer_that_was_made_in_inference_mode() -> None:
    with torch.inference_mode():
        layer, other = (SparseLinear(6, 5, num_kept=8, seed=seed) for seed in range(2))
        x = torch.randn(3, 6)
        layer(x)
        layer.load_state_dict(other.state_dict())
        assert torch.equal(layer(x), other(x))


def test_a_state_of_another_capacity_is_refused() -> None:
    layer, larger = (SparseLinear(6, 5, num_kept=8, capacity=capacity) for capacity in (8, 10))
    with pytest.raises(
        RuntimeError,
        match="expected the capacity 10 of this compact layer, got 8; make the layers by compact_",
    ):
        larger.load_state_dict(layer.state_dict())


def test_a_handle_that_was_given_back_is_made_anew() -> None:
    """Before an edit that then does not happen: places stay what they are."""
    layer, x = layer_of(), torch.randn(3, 12, dtype=torch.float64)
    expected = layer(x)
    layer.release()
    assert torch.equal(layer(x), expected)


def test_a_kind_of_layer_that_cannot_go_back_to_dense_cannot_be_made() -> None:
    class Forgetful(CompactLayer):
        def gradient_rows(self, x: Tensor, dy: Tensor, first: int, last: int) -> Tensor:
            return dy.T @ x

    with pytest.raises(TypeError, match=r"abstract method '?to_dense"):
        Forgetful(
            (8, 12),
            positions=None,
            num_kept=4,
            capacity=None,
            pattern="unstructured",
            bias=False,
            seed=0,
            dtype=None,
        )


def test_a_layer_without_inputs_or_outputs_is_refused() -> None:
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(EngineError, match="at least one row and one column"):
            SparseLinear(*shape, num_kept=0)


@pytest.mark.parametrize("pattern", ["2:4", "gs:4,1", "window:4", "taps:4", "block:2x2"])
def test_places_must_be_legal_in_the_pattern(pattern: str) -> None:
    """In any order; not with the last entry in the first row."""
    legal = layer_of(pattern, 48).positions()
    given = SparseLinear(12, 8, positions=legal.flip(0), pattern=pattern)
    assert torch.equal(given.positions(), legal)
    absent = (~given.mask()).flatten().nonzero().flatten()
    moved = torch.cat([legal[:-1], absent[:1]])
    with pytest.raises((PatternError, EngineError), match="expected"):
        SparseLinear(12, 8, positions=moved, pattern=pattern)
