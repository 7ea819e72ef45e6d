"""Norms and softmax. Batch norm is an affine map of the channels, computed in float64 and folded later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gossamer.export.draft import Unsupported, conv_attributes
from gossamer.export.onnx.lower.elementwise import channel_affine
from gossamer.export.onnx.scope import Call, Lowering, float_array
from gossamer.export.onnx.values import Const, Ref, plain
from gossamer.export.weight import Weight
from gossamer.graph.strict_json import Json


def batch_norm(call: Call) -> Ref | tuple[Ref | None, ...]:
    """With its running statistics."""
    if call.get("training_mode", 0) or any(call.node.outputs[1:]):
        raise Unsupported("BatchNormalization in training mode", "a model exported for inference")
    scale, shift, mean, variance = (
        call.needed(index, what).array.astype(np.float64)
        for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1)
    )
    factor = scale / np.sqrt(variance + float(call.get("epsilon", 1e-5)))
    x = call.ref()
    if x.net_axis(1) != 1:
        x = call.scope.settled(x)
    if x.net_axis(1) != 1:
        raise Unsupported("BatchNormalization whose channels are not the second dimension", "[N, C, ...]")
    return replace(x, value=channel_affine(call.scope, x.value, factor, shift - mean * factor))


def layer_norm(call: Call) -> Ref:
    """LayerNormalization and RMSNormalization over the last dimensions."""
    if any(call.node.outputs[1:]):
        raise Unsupported(f"{call.op} with more than one output", f"{call.op} with one output")
    x = call.ref()
    axis = int(call.get("axis", -1)) % x.rank
    count = x.rank - axis
    x = _last(call, x, count)
    attributes: dict[str, Json] = {"axes": count, "epsilon": float(call.get("epsilon", 1e-5))}
    weights = {"weight": _vector(call, call.needed(1, "scale"), x.shape[axis:], "weight")}
    bias = call.named(2, "bias")
    if bias is not None and call.op == "LayerNormalization":
        weights["bias"] = _vector(call, bias, x.shape[axis:], "bias")
    op = "layer_norm" if call.op == "LayerNormalization" else "rms_norm"
    shape = call.scope.shape(x.value)
    return replace(x, value=call.scope.emit(op, [x.value], shape, attributes, weights))


def _last(call: Call, x: Ref, count: int) -> Ref:
    """With ONNX's last `count` dimensions last in the network."""
    if x.group[1] > len(x.dims) - count:
        raise Unsupported(
            f"{call.op} over the batch of {list(x.shape)}", f"{call.op} over dimensions after it"
        )
    rank = len(x.dims)
    return x if x.order[rank - count :] == tuple(range(rank - count, rank)) else call.scope.settled(x)


def _vector(call: Call, const: Const, shape: tuple[int, ...], role: str) -> Weight:
    values = np.broadcast_to(float_array(const.array), shape).reshape(-1)
    return Weight(name=const.name or f"{call.node.name}.{role}", values=np.array(values))


def group_norm(call: Call) -> Ref:
    """GroupNormalization; before opset 21 its scale and bias have one entry a group."""
    x = call.ref()
    value = call.scope.plain(x)
    shape = call.scope.shape(value)
    if call.op == "InstanceNormalization":
        groups = shape[1]
    else:
        groups = int(call.get("num_groups"))
    weights = {}
    for index, role in ((1, "weight"), (2, "bias")):
        const = call.needed(index, role)
        values = float_array(const.array).reshape(-1)
        if values.size == groups != shape[1]:
            values = np.repeat(values, shape[1] // groups)
        weights[role] = Weight(name=const.name or f"{call.node.name}.{role}", values=values)
    attributes: dict[str, Json] = {"groups": groups, "epsilon": float(call.get("epsilon", 1e-5))}
    return replace(x, value=call.scope.emit("group_norm", [value], shape, attributes, weights))


def softmax(call: Call) -> Ref:
    """Softmax along one dimension; before opset 13 along all from `axis` on, together."""
    x = call.ref()
    axis = int(call.get("axis", 1 if call.opset < 13 else -1)) % x.rank
    if call.opset >= 13 or axis == x.rank - 1:
        return call.like(x, "softmax", {"axis": x.net_axis(axis)})
    shape = x.shape
    flat = call.scope.reshape(x, (*shape[:axis], int(np.prod(shape[axis:]))))
    return call.scope.reshape(call.like(flat, "softmax", {"axis": flat.net_axis(axis)}), shape)


def log_softmax(call: Call) -> Ref:
    """x - max - ln(sum(exp(x - max)))."""
    x = call.ref()
    axis = int(call.get("axis", 1 if call.opset < 13 else -1)) % x.rank
    if call.opset < 13 and axis != x.rank - 1:
        raise Unsupported("LogSoftmax over several dimensions", "LogSoftmax over the last dimension")
    place, shape = x.net_axis(axis), call.scope.shape(x.value)
    small = (*shape[:place], 1, *shape[place + 1 :])
    attributes: dict[str, Json] = {"axes": [place], "keep": True}
    emit = call.scope.emit
    high = emit("max", [x.value], small, attributes)
    centred = emit("sub", [x.value, high], shape)
    total = emit("sum", [emit("exp", [centred], shape)], small, attributes)
    return replace(x, value=emit("sub", [centred, emit("log", [total], small)], shape))


def lp_norm(call: Call) -> Ref:
    """LpNormalization: x / (|x|_p + tiny)."""
    x = call.ref()
    place, shape = x.net_axis(int(call.get("axis", -1))), call.scope.shape(x.value)
    small = (*shape[:place], 1, *shape[place + 1 :])
    emit = call.scope.emit
    if int(call.get("p", 2)) == 2:
        squares = emit(
            "sum", [emit("mul", [x.value, x.value], shape)], small, {"axes": [place], "keep": True}
        )
        norm = emit("sqrt", [squares], small)
    else:
        norm = emit("sum", [emit("abs", [x.value], shape)], small, {"axes": [place], "keep": True})
    return replace(x, value=emit("div", [x.value, norm], shape))


def lrn(call: Call) -> Ref:
    """Local response: x / (k + alpha/size * sum of squares of the neighbours among the channels) ^ beta; the sum is a 1x1
    convolution with a band of ones."""
    value = call.scope.plain(call.ref(), 4)
    shape, size = call.scope.shape(value), int(call.get("size"))
    alpha, beta, k = (
        float(call.get("alpha", 1e-4)),
        float(call.get("beta", 0.75)),
        float(call.get("bias", 1.0)),
    )
    emit, channels = call.scope.emit, shape[1]
    rows, columns = np.indices((channels, channels))
    band = (columns >= rows - (size - 1) // 2) & (columns <= rows + size // 2)
    name = call.scope.draft.fresh_name(f"{call.node.name}.neighbours")
    weights = {
        "weight": Weight(name=name, values=band * (alpha / size), mask=band, of_model=False),
        "bias": Weight(name=f"{name}.bias", values=np.full(channels, k), of_model=False),
    }
    squares = emit("mul", [value, value], shape)
    total = emit("conv2d", [squares], shape, conv_attributes(), weights)
    return plain(emit("mul", [value, emit("power", [total], shape, {"exponent": -beta})], shape), shape)


LOWERINGS: dict[str, Lowering] = {
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": layer_norm,
    "SimplifiedLayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": group_norm,
    "LpNormalization": lp_norm,
    "LRN": lrn,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
}
