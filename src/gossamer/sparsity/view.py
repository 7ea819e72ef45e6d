"""Weights of any layer as one matrix [rows, columns] = [outputs, inputs], and back.

A linear weight [O, I] is already that matrix. A convolution weight [O, I, k1, …, kn] becomes [O, k1 * … * kn * I] with columns ordered
(k1, …, kn, c_in), c_in fastest: column = ((i1 * k2 + i2) * …) * I + c. Neighbouring columns are then neighbouring input channels of one
filter position, so a pattern over columns does not depend on the size of the image and fits activations stored channels last.
"""

from __future__ import annotations

import math

from torch import Tensor

from gossamer.errors import PatternError


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of the matrix of a weight of this shape.

    >>> matrix_shape((16, 3, 3, 3)), matrix_shape((10, 64))
    ((16, 27), (10, 64))
    """
    if len(shape) < 2:
        raise PatternError(
            f"expected a weight with at least 2 dimensions [outputs, inputs, …], got shape {tuple(shape)}"
        )
    return shape[0], math.prod(shape[1:])


def as_matrix(weight: Tensor) -> Tensor:
    """The matrix of a weight: [O, I] unchanged, [O, I, k1, …] as [O, k1 * … * I]; a view where strides allow, else a copy.

    >>> import torch
    >>> as_matrix(torch.arange(8).reshape(1, 2, 2, 2))  # two input channels, 2x2 taps: channels become neighbours
    tensor([[0, 4, 1, 5, 2, 6, 3, 7]])
    """
    rows, columns = matrix_shape(tuple(weight.shape))
    return weight.movedim(1, -1).reshape(rows, columns)


def from_matrix(matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The inverse of `as_matrix`: a tensor of `shape` whose matrix is `matrix` (contiguous in `shape`).

    >>> import torch
    >>> from_matrix(torch.tensor([[0, 4, 1, 5, 2, 6, 3, 7]]), (1, 2, 2, 2)).flatten().tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    if tuple(matrix.shape) != matrix_shape(tuple(shape)):
        raise PatternError(
            f"expected a matrix {matrix_shape(tuple(shape))} for a weight of shape {tuple(shape)}, got {tuple(matrix.shape)}"
        )
    outputs, inputs, *taps = shape
    return matrix.reshape(outputs, *taps, inputs).movedim(-1, 1).contiguous()
