"""Products of training: values by hand, a convolution through offset tables against torch float64, refusals."""

import numpy as np
import pytest
import torch

from gossamer.errors import FormatError, RuntimeFailure
from gossamer.kernels.lanes import LaneStructure, lanes_product, lanes_sddmm
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


def test_a_convolution_through_offset_tables_equals_torch() -> None:
    """3x3, stride 1, padding 1, over planes of height + 2 rows of width + 2: forward, input gradient, weight gradient."""
    outputs, inputs, height, width = 5, 3, 6, 7
    rng = np.random.default_rng(1)
    mask = rng.random((outputs, 3, 3, inputs)) < 0.5
    weight = torch.tensor(
        np.where(mask, rng.standard_normal(mask.shape), 0).transpose(0, 3, 1, 2).copy(), requires_grad=True
    )
    x = torch.randn(1, inputs, height, width, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.conv2d(x, weight, padding=1)
    dy = torch.randn_like(y)
    y.backward(dy)
    assert x.grad is not None
    assert weight.grad is not None

    row, plane = width + 2, (height + 2) * (width + 2)
    lanes = (height - 1) * row + width  # of the output, in the pitch of the padded plane
    places = structure(mask.reshape(outputs, -1))  # columns (kh, kw, c), c fastest
    values = weight.detach().numpy().transpose(0, 2, 3, 1)[mask]
    tap, channel = np.divmod(places.columns.astype(np.int64), inputs)
    offset = channel * plane + tap // 3 * row + tap % 3
    by_row = LaneStructure(row_start=places.row_start, offsets=offset.astype(np.uint32))

    def padded(image: np.ndarray) -> np.ndarray:
        return np.pad(image, ((0, 0), (1, 1), (1, 1)))

    def image_of(flat: np.ndarray) -> np.ndarray:
        whole = np.zeros((len(flat), height * row))
        whole[:, :lanes] = flat
        return whole.reshape(len(flat), height, row)[:, :, :width]

    flat_x = padded(x.detach().numpy()[0]).ravel()
    np.testing.assert_allclose(
        image_of(lanes_product(by_row, values, flat_x, lanes)), y.detach().numpy()[0], atol=1e-12
    )
    # The gradient of a weight: lanes of the padding between rows are zero in dY.
    flat_dy = np.pad(dy.numpy()[0], ((0, 0), (0, 0), (0, 2))).reshape(outputs, -1)[:, :lanes]
    want = weight.grad.numpy().transpose(0, 2, 3, 1)[mask]
    np.testing.assert_allclose(lanes_sddmm(by_row, flat_dy, flat_x), want, atol=1e-12)
    # The gradient of the input: entries by channel, taps mirrored, over padded planes of dY.
    by_channel = np.lexsort((np.arange(len(channel)), channel))
    mirrored = places.rows() * plane + (2 - tap // 3) * row + (2 - tap % 3)
    back = LaneStructure(
        row_start=np.concatenate([[0], np.cumsum(np.bincount(channel, minlength=inputs))]).astype(np.uint32),
        offsets=mirrored[by_channel].astype(np.uint32),
        order=by_channel.astype(np.uint32),
    )
    got = image_of(lanes_product(back, values, padded(dy.numpy()[0]).ravel(), lanes))
    np.testing.assert_allclose(got, x.grad.numpy()[0], atol=1e-12)


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
    lanes = LaneStructure(row_start=np.array([0, 1], np.uint32), offsets=np.array([4], np.uint32))
    with pytest.raises(FormatError, match="at least 7 elements"):
        lanes_product(lanes, np.ones(1), np.ones(6), 3)
    with pytest.raises(RuntimeFailure, match="got 'sse'"):
        linear_product(places, ones, np.ones((4, 3), np.float32), isa="sse")
