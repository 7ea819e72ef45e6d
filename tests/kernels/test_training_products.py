"""Products of training: a linear layer against torch float64, refusals."""

import numpy as np
import pytest
import torch

from gossamer.errors import FormatError, RuntimeFailure
from gossamer.kernels.linear import linear_product
from gossamer.kernels.sddmm import sddmm
from gossamer.kernels.structure import Structure, structure


def test_a_linear_layer_equals_torch() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((12, 20)) < 0.4
    weight = torch.tensor(np.where(mask, rng.standard_normal((12, 20)), 0), requires_grad=True)
    x = torch.randn(9, 20, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.linear(x, weight)
    dy = torch.randn(9, 12, dtype=torch.float64)
    y.backward(dy)
    places, values = structure(mask), weight.detach().numpy()[mask]
    given, back = x.detach().numpy(), dy.numpy()
    np.testing.assert_allclose(linear_product(places, values, given), y.detach().numpy(), atol=1e-13)
    assert x.grad is not None
    assert weight.grad is not None
    np.testing.assert_allclose(linear_product(places.transposed(), values, back), x.grad.numpy(), atol=1e-13)
    np.testing.assert_allclose(sddmm(places, back, given), weight.grad.numpy()[mask], atol=1e-13)


def test_transposed_twice_is_the_structure() -> None:
    places = structure(np.random.default_rng(2).random((6, 9)) < 0.3)
    twice = places.transposed().transposed()
    assert twice.order is not None
    assert twice.order.tolist() == list(range(places.num_kept))
    assert twice.columns.tolist() == places.columns.tolist()
    assert twice.row_start.tolist() == places.row_start.tolist()


def test_refusals() -> None:
    places = structure(np.ones((2, 3), bool))
    ones = np.ones(6, np.float32)
    with pytest.raises(FormatError, match=r"expected an operand of shape \[N, 3\], got \[4, 2\]"):
        linear_product(places, ones, np.ones((4, 2), np.float32))
    with pytest.raises(FormatError, match=r"expected a value for each of 6 entries, got shape \[5\]"):
        linear_product(places, ones[:5], np.ones((4, 3), np.float32))
    with pytest.raises(FormatError, match="all of one type, got float32, float64"):
        linear_product(places, ones, np.ones((4, 3)))
    with pytest.raises(FormatError, match=r"expected gradients \[N, 2\] and inputs \[N, 3\]"):
        sddmm(places, np.ones((4, 3)), np.ones((4, 3)))
    with pytest.raises(FormatError, match="expected a structure by row"):
        sddmm(places.transposed(), np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(FormatError, match="expected a bool mask"):
        structure(np.ones((2, 3)))  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="expected columns below 1, got 2"):
        Structure(shape=(2, 1), row_start=places.row_start, columns=places.columns)
    with pytest.raises(RuntimeFailure, match="got 'sse'"):
        linear_product(places, ones, np.ones((4, 3), np.float32), isa="sse")
