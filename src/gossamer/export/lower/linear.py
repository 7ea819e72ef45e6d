"""Products with a constant matrix: y = x W^T + b over the last dimension; W [O, K]."""

from collections.abc import Sequence

import numpy as np

from gossamer.export.draft import Const, Draft, Ref, Unsupported, Weight, conv_attributes
from gossamer.export.lower.call import Call, Lowering, bias_weight, describe, matrix_weight


def linear(call: Call, draft: Draft) -> Ref:
    """F.linear."""
    weight = call.const("weight")
    assert weight is not None
    return product(call, draft, call.ref(), weight, call.vector("bias"))


def matmul(call: Call, draft: Draft) -> Ref:
    """x @ W and mm, with a constant W [K, O]."""
    other = call.get("other", "mat2")
    return product(call, draft, call.ref(), _transposed(call, other), None)


def addmm(call: Call, draft: Draft) -> Ref:
    """b + x @ W."""
    if call.get("beta", default=1) != 1 or call.get("alpha", default=1) != 1:
        raise Unsupported("addmm with factors", "addmm with alpha = beta = 1, or nn.Linear")
    weight = _transposed(call, call.get("mat2"))
    bias = call.vector("self")
    if bias is None or bias.shape != (weight.tensor.shape[0],):
        raise Unsupported("addmm whose first argument is no bias vector", "nn.Linear")
    return product(call, draft, call.ref("mat1"), weight, bias)


def product(call: Call, draft: Draft, x: Ref, weight: Const, bias: np.ndarray | None) -> Ref:
    """Emit `linear`, on the value as it lies in the network where the last dimension is the same there."""
    if weight.tensor.dim() != 2 or len(x.shape) < 2:
        raise Unsupported(
            f"product of {describe(x.shape)} with a weight of shape {list(weight.tensor.shape)}",
            "nn.Linear with a matrix on [N, ..., K]",
        )
    weights = bias_weight(matrix_weight(call, weight), bias)
    return along_last(draft, x, weights)


def along_last(draft: Draft, x: Ref, weights: dict[str, Weight], reserved: str | None = None) -> Ref:
    """`linear` over the last dimension of `x`."""
    rows = int(weights["weight"].values.shape[0])
    base = draft.base(x)
    if len(base) < 2 or base[-1] != x.shape[-1] or any(x.padding):
        value = draft.settle(x)
        return draft.emit("linear", [value], (*x.shape[:-1], rows), weights=weights, reserved=reserved)
    out = draft.emit("linear", [x.value], (*base[:-1], rows), weights=weights, reserved=reserved)
    return draft.view(out, (*x.shape[:-1], rows), x.origin)


def along_channels(draft: Draft, x: Ref, weights: dict[str, Weight], reserved: str | None = None) -> Ref:
    """A product over dimension 1: 1x1 convolution of images, `linear` of [N, C]."""
    if len(x.shape) == 2:
        return along_last(draft, x, weights, reserved)
    if len(x.shape) != 4:
        raise Unsupported(f"a selection of channels of shape {describe(x.shape)}", "[N, C] or [N, C, H, W]")
    rows = int(weights["weight"].values.shape[0])
    shape = (x.shape[0], rows, *x.shape[2:])
    return draft.emit(
        "conv2d", [draft.settle(x)], shape, attributes=conv_attributes(), weights=weights, reserved=reserved
    )


def selection(
    name: str, columns: int, chosen: Sequence[int], rows: int | None = None, first: int = 0
) -> Weight:
    """The matrix [rows, columns] whose row first + i takes column chosen[i]; other rows give zero."""
    matrix = np.zeros((len(chosen) if rows is None else rows, columns), np.float32)
    matrix[first + np.arange(len(chosen)), np.asarray(chosen, dtype=np.int64)] = 1.0
    return Weight(name=f"{name}.weight", values=matrix, mask=matrix == 1.0, of_model=False)


def _transposed(call: Call, other: object) -> Const:
    if not isinstance(other, Const):
        raise Unsupported(
            "product of two values that both depend on the input (attention)",
            "products with constant weights: nn.Linear, or x @ W with a parameter W",
        )
    if other.tensor.dim() != 2:
        raise Unsupported(
            f"product with a constant of shape {list(other.tensor.shape)}", "a matrix [K, O], as in nn.Linear"
        )
    mask = None if other.mask is None else other.mask.t()
    return Const(tensor=other.tensor.t(), parameter=other.parameter, mask=mask)


LOWERINGS: dict[str, Lowering] = {
    "aten.linear": linear,
    "aten.matmul": matmul,
    "aten.mm": matmul,
    "aten.bmm": matmul,
    "aten.addmm": addmm,
}
