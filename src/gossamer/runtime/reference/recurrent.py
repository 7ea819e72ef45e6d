"""`lstm` and `gru`: one cell goes over a sequence, step by step."""

import numpy as np

from gossamer.runtime.reference.base import Call, Floats, Run, float32
from gossamer.runtime.reference.functions import logistic
from gossamer.runtime.reference.products import product


def _steps(call: Call) -> range:
    count = call.inputs[0].shape[1]
    return range(count - 1, -1, -1) if call.node.attributes["reverse"] else range(count)


def _of_inputs(call: Call) -> Floats:
    """The input's part of all gates, with the bias: [N, S, gates * H]."""
    x = call.inputs[0]
    result = product(x.reshape(-1, x.shape[2]), call.weights["input"], call.masks.get("input"))
    if "bias" in call.weights:
        result = result + call.weights["bias"]
    return result.reshape(*x.shape[:2], -1)


def _states(call: Call, count: int) -> list[Floats]:
    batch, hidden = call.inputs[0].shape[0], call.weights["hidden"].shape[1]
    return list(call.inputs[1:]) or [np.zeros((batch, hidden), dtype=np.float32)] * count


def _lstm(call: Call) -> tuple[Floats, ...]:
    inputs, (h, c) = _of_inputs(call), _states(call, 2)
    result = np.empty((*inputs.shape[:2], h.shape[1]), dtype=np.float32)
    for step in _steps(call):
        gates = inputs[:, step] + product(h, call.weights["hidden"], call.masks.get("hidden"))
        i, f, g, o = np.split(gates, 4, axis=1)
        c = float32(logistic(f) * c + logistic(i) * np.tanh(g))
        h = float32(logistic(o) * np.tanh(c))
        result[:, step] = h
    return result, h, c


def _gru(call: Call) -> tuple[Floats, ...]:
    inputs, (h,) = _of_inputs(call), _states(call, 1)
    result = np.empty((*inputs.shape[:2], h.shape[1]), dtype=np.float32)
    extra = call.weights.get("hidden_bias", np.float32(0))
    for step in _steps(call):
        r, z, n = np.split(inputs[:, step], 3, axis=1)
        hr, hz, hn = np.split(product(h, call.weights["hidden"], call.masks.get("hidden")), 3, axis=1)
        update = logistic(z + hz)
        new = np.tanh(n + logistic(r + hr) * (hn + extra))
        h = float32((1 - update) * new + update * h)
        result[:, step] = h
    return result, h


OPERATIONS: dict[str, Run] = {"lstm": _lstm, "gru": _gru}
