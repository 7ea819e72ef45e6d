"""Functions of single numbers, and softmax."""

from collections.abc import Callable
from math import erf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.graph.operators.attributes import int_attribute, number_attribute
from gossamer.runtime.reference.base import Call, Floats, Run, float32

_ERF = np.frompyfunc(erf, 1, 1)


def _of_x(function: Callable[[Floats], Any]) -> Run:
    return lambda call: float32(function(call.inputs[0]))


def _number(call: Call, key: str) -> np.float32:
    return np.float32(number_attribute(call.node, key))


def logistic(x: Floats) -> Floats:
    """1 / (1 + e^-x) that never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def _erf(x: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(_ERF(x.astype(np.float64)), dtype=np.float64)


def _gelu(call: Call) -> Floats:
    x = call.inputs[0].astype(np.float64)
    if call.node.attributes["approximate"] == "tanh":
        return float32(0.5 * x * (1 + np.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3))))
    return float32(0.5 * x * (1 + _erf(x / sqrt(2))))


def _softmax(call: Call) -> Floats:
    x, axis = call.inputs[0], int_attribute(call.node, "axis")
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return float32(powers / powers.sum(axis=axis, keepdims=True))


def _leaky_relu(call: Call) -> Floats:
    x = call.inputs[0]
    return float32(np.where(x >= 0, x, _number(call, "slope") * x))


def _elu(call: Call) -> Floats:
    x = call.inputs[0]
    return float32(np.where(x > 0, x, _number(call, "alpha") * np.expm1(x)))


def _softplus(call: Call) -> Floats:
    x, beta = call.inputs[0], _number(call, "beta")
    return float32(np.where(beta * x > _number(call, "threshold"), x, np.logaddexp(0, beta * x) / beta))


def _clamp(call: Call) -> Floats:
    x = call.inputs[0]
    if call.node.attributes["low"] is not None:
        x = np.maximum(x, _number(call, "low"))  # NaN passes
    return x if call.node.attributes["high"] is None else np.minimum(x, _number(call, "high"))


def _affine(call: Call) -> Floats:
    return float32(_number(call, "scale") * call.inputs[0] + _number(call, "shift"))


def _power(call: Call) -> Floats:
    return float32(np.power(call.inputs[0], _number(call, "exponent")))


OPERATIONS: dict[str, Run] = {
    "relu": _of_x(lambda x: np.maximum(x, np.float32(0))),
    "relu6": _of_x(lambda x: np.clip(x, np.float32(0), np.float32(6))),
    "silu": _of_x(lambda x: x * logistic(x)),
    "sigmoid": _of_x(logistic),
    "gelu": _gelu,
    "softmax": _softmax,
    "tanh": _of_x(np.tanh),
    "exp": _of_x(np.exp),
    "log": _of_x(np.log),
    "sqrt": _of_x(np.sqrt),
    "rsqrt": _of_x(lambda x: 1 / np.sqrt(x)),
    "abs": _of_x(np.abs),
    "neg": _of_x(np.negative),
    "erf": _of_x(_erf),
    "sin": _of_x(np.sin),
    "cos": _of_x(np.cos),
    "floor": _of_x(np.floor),
    "sign": _of_x(lambda x: np.where(np.isnan(x), np.float32(0), np.sign(x))),
    "hardswish": _of_x(lambda x: x * np.clip(x + 3, np.float32(0), np.float32(6)) / 6),
    "hardsigmoid": _of_x(lambda x: np.clip(x + 3, np.float32(0), np.float32(6)) / 6),
    "mish": _of_x(lambda x: x * np.tanh(np.logaddexp(np.float32(0), x))),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "softplus": _softplus,
    "clamp": _clamp,
    "affine": _affine,
    "power": _power,
}
