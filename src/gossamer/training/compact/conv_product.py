"""The product of sparse convolutions in autograd; the rest is as in `products.py`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gossamer.kernels.conv_geometry import ConvGeometry
from gossamer.kernels.training_matrix import TrainingMatrix
from gossamer.training.compact.products import Recorded, once


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
        ctx.matrix, ctx.recorded, ctx.needs = matrix, recorded, tuple(ctx.needs_input_grad[:3])
        ctx.geometry = geometry
        operand = _readable(x)
        y = torch.from_numpy(
            matrix.conv(values.numpy(), geometry, operand.numpy(), threads=torch.get_num_threads())
        )
        if bias is not None:
            y.add_(bias[:, None, None])
        ctx.save_for_backward(values, operand)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        values, x = ctx.saved_tensors
        need_values, need_bias, need_x = ctx.needs
        dx = dvalues = None
        with torch.no_grad():
            gradient = _readable(dy)
            if need_values or need_x:
                found = ctx.matrix.conv_backward(
                    values.detach().numpy(),
                    ctx.geometry,
                    x.detach().numpy(),
                    gradient.numpy(),
                    need_dx=need_x,
                    threads=torch.get_num_threads(),
                )
                dx = torch.from_numpy(found[0]) if need_x else None
                dvalues = torch.from_numpy(found[1]) if need_values else None
            dbias = gradient.sum((0, 2, 3)) if need_bias else None
            if ctx.recorded is not None:
                ctx.recorded.append((x, gradient))
        return (*once((dvalues, dbias, dx), dy, ctx), None, None, None)


def _readable(images: Tensor) -> Tensor:
    """[N, C, H, W] contiguous or channels last, the same tensor where it is one of the two: results have the layout of the operand."""
    if images.is_contiguous() or images.is_contiguous(memory_format=torch.channels_last):
        return images
    return images.contiguous()
