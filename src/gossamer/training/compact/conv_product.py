"""The product of sparse convolutions in autograd; the rest is as in `products.py`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gossamer.kernels.conv_geometry import ConvGeometry
from gossamer.kernels.training_matrix import TrainingMatrix
from gossamer.training.compact.products import Recorded, gradients, remember


class ConvProduct(torch.autograd.Function):
    """y [N, R, H', W'] of x [N, C_in, H, W], without padding modes other than zeros."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        bias: Tensor | None,
        x: Tensor,
        matrix: TrainingMatrix,
        geometry: ConvGeometry,
        recorded: Recorded | None = None,
    ) -> Tensor:
        operand = _readable(x)
        y = torch.from_numpy(
            matrix.conv(values.numpy(), geometry, operand.numpy(), threads=torch.get_num_threads())
        )
        if bias is not None:
            y.add_(bias[:, None, None])
        remember(ctx, values, operand, partial(matrix.conv_backward, geometry=geometry), recorded)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return (*gradients(ctx, dy, _readable(dy)), None, None, None)


def _readable(images: Tensor) -> Tensor:
    """[N, C, H, W] contiguous or channels last, the same tensor where it is one of the two: results have the layout of the operand."""
    if images.is_contiguous() or images.is_contiguous(memory_format=torch.channels_last):
        return images
    return images.contiguous()
