"""A weight as a matrix, and back, for linear layers and convolutions of one to three dimensions."""

import pytest
import torch

from gossamer.errors import PatternError
from gossamer.sparsity.view import as_matrix, from_matrix, matrix_shape


@pytest.mark.parametrize("shape", [(3, 5), (4, 3, 7), (4, 3, 2, 5), (2, 3, 2, 3, 4), (6, 1, 3, 3)])
def test_columns_are_taps_then_channels(shape):
    weight = torch.arange(torch.Size(shape).numel()).reshape(shape)
    matrix = as_matrix(weight)
    assert tuple(matrix.shape) == matrix_shape(shape)
    for index in ((0,) * len(shape), tuple(n - 1 for n in shape), tuple(n // 2 for n in shape)):
        column = 0
        for at, size in zip(index[2:], shape[2:], strict=True):
            column = column * size + at
        assert matrix[index[0], column * shape[1] + index[1]] == weight[index]
    assert torch.equal(from_matrix(matrix, shape), weight)
    assert from_matrix(matrix, shape).is_contiguous()


def test_channels_last_weights_need_no_copy():
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    assert as_matrix(weight).data_ptr() == weight.data_ptr()


def test_wrong_shapes_are_refused():
    with pytest.raises(PatternError, match="at least 2 dimensions"):
        as_matrix(torch.zeros(3))
    with pytest.raises(PatternError, match=r"expected a matrix \(4, 27\)"):
        from_matrix(torch.zeros(4, 26), (4, 3, 3, 3))
