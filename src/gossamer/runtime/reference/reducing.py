"""Along axes: norms, reductions, running sums. Sums are taken in float64."""

import numpy as np
from numpy.typing import NDArray

from gossamer.graph.operators.attributes import int_attribute, int_list, number_attribute
from gossamer.runtime.reference.base import Call, Floats, Run, float32


def _channel_affine(call: Call) -> Floats:
    shape = (-1,) + (1,) * (call.inputs[0].ndim - 2)
    return float32(
        call.inputs[0] * call.weights["scale"].reshape(shape) + call.weights["shift"].reshape(shape)
    )


def _normalized(x: NDArray[np.float64], axes: tuple[int, ...], epsilon: float) -> NDArray[np.float64]:
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + epsilon))


def _weighted(call: Call, x: NDArray[np.float64], shape: tuple[int, ...]) -> Floats:
    if "weight" in call.weights:
        x = x * call.weights["weight"].reshape(shape)
    if "bias" in call.weights:
        x = x + call.weights["bias"].reshape(shape)
    return float32(x)


def _last_axes(call: Call) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes that are normalized, and their sizes."""
    x, count = call.inputs[0], int_attribute(call.node, "axes")
    return tuple(range(x.ndim - count, x.ndim)), x.shape[x.ndim - count :]


def _layer_norm(call: Call) -> Floats:
    axes, tail = _last_axes(call)
    x = call.inputs[0].astype(np.float64)
    return _weighted(call, _normalized(x, axes, number_attribute(call.node, "epsilon")), tail)


def _rms_norm(call: Call) -> Floats:
    axes, tail = _last_axes(call)
    x = call.inputs[0].astype(np.float64)
    square = np.square(x).mean(axis=axes, keepdims=True)
    return _weighted(call, x / np.sqrt(square + number_attribute(call.node, "epsilon")), tail)


def _group_norm(call: Call) -> Floats:
    x, groups = call.inputs[0], int_attribute(call.node, "groups")
    grouped = x.reshape(x.shape[0], groups, -1).astype(np.float64)
    result = _normalized(grouped, (2,), number_attribute(call.node, "epsilon")).reshape(x.shape)
    return _weighted(call, result, (-1,) + (1,) * (x.ndim - 2))


def _keep(call: Call) -> bool:
    return bool(call.node.attributes["keep"])


def _mean(call: Call) -> Floats:
    return float32(
        call.inputs[0].mean(axis=int_list(call.node, "axes"), keepdims=_keep(call), dtype=np.float64)
    )


def _sum(call: Call) -> Floats:
    return float32(
        call.inputs[0].sum(axis=int_list(call.node, "axes"), keepdims=_keep(call), dtype=np.float64)
    )


def _max(call: Call) -> Floats:
    return float32(call.inputs[0].max(axis=int_list(call.node, "axes"), keepdims=_keep(call)))


def _min(call: Call) -> Floats:
    return float32(call.inputs[0].min(axis=int_list(call.node, "axes"), keepdims=_keep(call)))


def _argmax(call: Call) -> Floats:
    axis = int_attribute(call.node, "axis")
    return float32(
        np.argmax(call.inputs[0], axis=axis, keepdims=_keep(call))
    )  # the first; NaN is the greatest


def _cumsum(call: Call) -> Floats:
    return float32(np.cumsum(call.inputs[0], axis=int_attribute(call.node, "axis"), dtype=np.float64))


OPERATIONS: dict[str, Run] = {
    "channel_affine": _channel_affine,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "mean": _mean,
    "sum": _sum,
    "max": _max,
    "min": _min,
    "argmax": _argmax,
    "cumsum": _cumsum,
}
