"""The products of compact layers in autograd: forward, gradient of the input and gradient of the kept values, all native.

    y = x W^T,    dx = dy W,    dvalues = (dy^T x) at the kept places

No dense weight and no dense gradient exist. Gradients of values beyond the last kept entry (the reserve of a layer's capacity) are zero.
Second derivatives are refused. Activations may be feature-major ([N, C] whose transpose is contiguous): they are read as they are, and
results are feature-major too, so that consecutive layers turn nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from gossamer.errors import EngineError
from gossamer.kernels.training_matrix import TrainingMatrix

FLOATS = (torch.float32, torch.float64)

Recorded = list[tuple[Tensor, Tensor]]  # operands of backward passes, where an edit will rank absent weights

# From this many examples on, the first compact layer turns its input to feature-major, and all that follow stay there.
FEATURE_MAJOR_FROM = 16


def checked_operand(x: Tensor, values: Tensor, who: str) -> Tensor:
    """`x` as the kernels take it: on the CPU, of the type of the values (cast to it under autocast)."""
    for what, tensor in (("input", x), ("values", values)):
        if tensor.device.type != "cpu":
            raise EngineError(
                f"{who}: expected its {what} on the CPU, got {tensor.device}. On CUDA training is masked: to_dense(model), move it, and "
                "train it with the Sparsifier"
            )
    if values.dtype not in FLOATS:
        raise EngineError(
            f"{who}: expected values of float32 or float64, got {values.dtype}; call .float() on the layer (autocast is welcome: compact "
            "layers stay in float32 there)"
        )
    if x.dtype != values.dtype:
        if not torch.is_autocast_enabled("cpu"):
            raise EngineError(
                f"{who}: expected an input of {values.dtype}, got {x.dtype}; convert the input or the layer"
            )
        x = x.to(values.dtype)
    return x


class LinearProduct(torch.autograd.Function):
    """y [N, R] = x [N, C] W^T + bias."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        bias: Tensor | None,
        x: Tensor,
        matrix: TrainingMatrix,
        recorded: Recorded | None = None,
    ) -> Tensor:
        operand = _readable(x)
        if len(x) >= FEATURE_MAJOR_FROM and not _is_feature_major(operand):
            operand = operand.T.contiguous().T
        y = torch.from_numpy(
            matrix.linear(
                values.numpy(),
                operand.numpy(),
                bias=None if bias is None else bias.numpy(),
                threads=torch.get_num_threads(),
            )
        )
        # The operand that is kept is the turned one, so that backward turns nothing.
        remember(ctx, values, operand, matrix.linear_backward, recorded)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return (*gradients(ctx, dy, _readable(dy)), None, None)


def remember(
    ctx: Any, values: Tensor, x: Tensor, product: Callable[..., Any], recorded: Recorded | None
) -> None:
    """In forward: what `gradients` needs of `product`, the kernel for the gradients. The gradient of the values alone reads x; that of x
    has the layout of x."""
    ctx.product, ctx.recorded, ctx.needs = product, recorded, tuple(ctx.needs_input_grad[:3])
    ctx.layout = x.shape, x.stride()
    ctx.save_for_backward(values, x if ctx.needs[0] else None)


def gradients(ctx: Any, dy: Tensor, readable: Tensor) -> tuple[Tensor | None, ...]:
    """In backward: those of values, bias and x, where they are needed; `readable` is dy as the kernels take it."""
    values, x = ctx.saved_tensors
    need_values, need_bias, need_x = ctx.needs
    dvalues = dbias = dx = None
    with torch.no_grad():
        if need_values or need_x:
            operand = readable.new_empty_strided(*ctx.layout) if x is None else x
            found = ctx.product(
                values=values.detach().numpy(),
                x=operand.detach().numpy(),
                dy=readable.numpy(),
                need_dx=need_x,
                threads=torch.get_num_threads(),
            )
            dx = torch.from_numpy(found[0]) if need_x else None
            dvalues = torch.from_numpy(found[1]) if need_values else None
        if need_bias:
            dbias = readable.sum([axis for axis in range(readable.ndim) if axis != 1])
        if ctx.recorded is not None and x is not None:
            ctx.recorded.append((x, readable))
    return _once((dvalues, dbias, dx), dy, ctx)


class _Once(torch.autograd.Function):
    """Hands a gradient on, and refuses to be differentiated."""

    @staticmethod
    def forward(ctx: FunctionCtx, gradient: Tensor, *roots: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        raise EngineError(
            "compact layers have first derivatives only: expected no gradient of their gradient; use to_dense(model) for second "
            "derivatives (gradient penalties, Hessians)"
        )


def _once(gradients: tuple[Tensor | None, ...], dy: Tensor, ctx: Any) -> tuple[Tensor | None, ...]:
    """The gradients as they are; where a graph of the backward pass is wanted, with its refusal attached."""
    if not torch.is_grad_enabled():
        return gradients
    roots = [tensor for tensor in (dy, *ctx.saved_tensors) if tensor is not None]
    return tuple(None if gradient is None else _Once.apply(gradient, *roots) for gradient in gradients)  # type: ignore[no-untyped-call]


def _readable(matrix: Tensor) -> Tensor:
    """[N, C] contiguous, or feature-major: the same tensor where it is one of the two, else a contiguous copy."""
    return matrix if matrix.is_contiguous() or _is_feature_major(matrix) else matrix.contiguous()


def _is_feature_major(matrix: Tensor) -> bool:
    return not matrix.is_contiguous() and matrix.T.is_contiguous()
