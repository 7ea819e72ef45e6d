"""The NumPy reference executor: the packed network's meaning, operator by operator, in float32. Slow but right.

It runs where there is no native library, and every test of the native one compares with it. One function an operator, in the families of
`gossamer.graph.operators`; matrices are unpacked to dense once, by the first run.

>>> sliding(np.arange(6.0).reshape(1, 1, 1, 6), kernel=(1, 3), stride=(1, 2), dilation=(1, 1))[0, 0, 0]
array([[[0., 1., 2.]],
<BLANKLINE>
       [[2., 3., 4.]]])
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import erf, prod, sqrt
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from gossamer.formats import PackedMatrix, unpack
from gossamer.graph import Network, Node
from gossamer.graph.operators.attributes import int_attribute, int_list
from gossamer.runtime import memory

Floats: TypeAlias = NDArray[np.float32]
Roles: TypeAlias = Mapping[str, Floats]
Run: TypeAlias = Callable[[Node, Sequence[Floats], Roles], Floats]

_ERF = np.frompyfunc(erf, 1, 1)


class ReferenceExecutor:
    """Runs a checked network: `run(inputs)` gives the value of every output, both by name."""

    def __init__(
        self, network: Network, weights: Mapping[str, PackedMatrix], *, max_bytes: int | None = None
    ) -> None:
        self._network = network
        self._packed = weights
        self._max_bytes = max_bytes

    @cached_property
    def _weights(self) -> Mapping[str, Floats]:
        """Dense, made by the first run: an input that fits justifies the memory, a file's word does not."""
        return {name: unpack(weight)[0] for name, weight in self._packed.items()}

    def prepare(self, batch: int) -> None:
        """What a run needs once; RuntimeFailure where a run with the free dimension at `batch` would not fit into memory."""
        memory.check(self._network, self._packed, batch=batch, max_bytes=self._max_bytes)
        assert self._weights.keys() == self._packed.keys()

    def run(
        self, inputs: Mapping[str, Floats], on_node: Callable[[Node], None] | None = None
    ) -> dict[str, Floats]:
        """`inputs` by name, float32 of checked shapes. `on_node` is called after every node."""
        network = self._network
        last_use = {value: index for index, node in enumerate(network.nodes) for value in node.inputs}
        wanted = {output.value for output in network.outputs}
        values = dict(inputs)
        for index, node in enumerate(network.nodes):
            roles = {role: self._weights[name] for role, name in node.weights.items()}
            result = OPERATIONS[node.op](node, [values[name] for name in node.inputs], roles)
            values[node.outputs[0]] = np.ascontiguousarray(result, dtype=np.float32)
            for name in set(node.inputs):
                if last_use[name] == index and name not in wanted:
                    del values[name]
            if on_node:
                on_node(node)
        return {output.name: values[output.value].copy() for output in network.outputs}


# ---- windows


def sliding(
    x: NDArray[np.floating], *, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> NDArray[np.floating]:
    """Windows of a padded image [N, C, H, W] as a read-only view [N, C, Ho, Wo, kh, kw]."""
    batch, channels, height, width = x.shape
    out_h = (height - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    out_w = (width - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    n, c, h, w = x.strides
    steps = (n, c, h * stride[0], w * stride[1], h * dilation[0], w * dilation[1])
    return as_strided(x, (batch, channels, out_h, out_w, kernel[0], kernel[1]), steps, writeable=False)


def _padded(x: Floats, padding: Sequence[int], value: float) -> Floats:
    top, left, bottom, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


# ---- matrices


def _conv2d(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    kernel, groups = int_list(node, "kernel"), int_attribute(node, "groups")
    windows = sliding(
        _padded(inputs[0], int_list(node, "padding"), 0.0),
        kernel=kernel,
        stride=int_list(node, "stride"),
        dilation=int_list(node, "dilation"),
    )
    batch, channels, height, width = windows.shape[:4]
    inside, rows = channels // groups, len(weights["weight"]) // groups
    result = np.empty((batch, groups * rows, height, width), dtype=np.float32)
    for group in range(groups):
        # columns ordered (kh, kw, c_in), c_in fastest, like the weight's
        part = windows[:, group * inside : (group + 1) * inside].transpose(0, 2, 3, 4, 5, 1)
        product = (
            part.reshape(batch * height * width, -1) @ weights["weight"][group * rows : (group + 1) * rows].T
        )
        shaped = product.reshape(batch, height, width, rows).transpose(0, 3, 1, 2)
        result[:, group * rows : (group + 1) * rows] = shaped
    if "bias" in weights:
        result += weights["bias"][:, None, None]
    return result


def _linear(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    result: Floats = inputs[0] @ weights["weight"].T
    return result + weights["bias"] if "bias" in weights else result


# ---- norms


def _channel_affine(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    shape = (-1,) + (1,) * (inputs[0].ndim - 2)
    result: Floats = inputs[0] * weights["scale"].reshape(shape) + weights["shift"].reshape(shape)
    return result


def _layer_norm(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    count = int_attribute(node, "axes")
    x = inputs[0].astype(np.float64)
    axes = tuple(range(x.ndim - count, x.ndim))
    tail = inputs[0].shape[x.ndim - count :]
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    epsilon = node.attributes["epsilon"]
    assert isinstance(epsilon, int | float)
    result = centred / np.sqrt(variance + epsilon)
    if "weight" in weights:
        result = result * weights["weight"].reshape(tail)
    if "bias" in weights:
        result = result + weights["bias"].reshape(tail)
    return np.asarray(result, dtype=np.float32)


# ---- activations


def _relu(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    return np.maximum(inputs[0], np.float32(0))


def _relu6(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    return np.clip(inputs[0], np.float32(0), np.float32(6))


def _sigmoid(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    return _logistic(inputs[0])


def _silu(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    return inputs[0] * _logistic(inputs[0])


def _gelu(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    x = inputs[0].astype(np.float64)
    if node.attributes["approximate"] == "tanh":
        result = 0.5 * x * (1 + np.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    else:
        result = 0.5 * x * (1 + np.asarray(_ERF(x / sqrt(2)), dtype=np.float64))
    return np.asarray(result, dtype=np.float32)


def _softmax(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    axis = int_attribute(node, "axis")
    powers = np.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _logistic(x: Floats) -> Floats:
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


# ---- merging


def _add(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    return inputs[0] + inputs[1]


def _concat(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    return np.concatenate(inputs, axis=int_attribute(node, "axis"))


def _flatten(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    return inputs[0].reshape(*inputs[0].shape[: int_attribute(node, "start")], -1)


# ---- pooling


def _max_pool2d(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    windows = sliding(
        _padded(inputs[0], int_list(node, "padding"), -np.inf),
        kernel=int_list(node, "kernel"),
        stride=int_list(node, "stride"),
        dilation=int_list(node, "dilation"),
    )
    return np.asarray(windows.max(axis=(4, 5)))


def _avg_pool2d(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    kernel, stride, padding = int_list(node, "kernel"), int_list(node, "stride"), int_list(node, "padding")

    def sums(x: Floats) -> NDArray[np.floating]:
        return np.asarray(
            sliding(_padded(x, padding, 0.0), kernel=kernel, stride=stride, dilation=(1, 1)).sum(axis=(4, 5))
        )

    if node.attributes["count_include_pad"]:
        return (sums(inputs[0]) / np.float32(prod(kernel))).astype(np.float32)
    return (sums(inputs[0]) / sums(np.ones((1, 1, *inputs[0].shape[2:]), dtype=np.float32))).astype(
        np.float32
    )


def _adaptive_avg_pool2d(node: Node, inputs: Sequence[Floats], weights: Roles) -> Floats:
    x = inputs[0]
    out_h, out_w = int_list(node, "output")
    result = np.empty((*x.shape[:2], out_h, out_w), dtype=np.float32)
    for i, rows in enumerate(_adaptive(x.shape[2], out_h)):
        for j, columns in enumerate(_adaptive(x.shape[3], out_w)):
            result[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
    return result


def _adaptive(size: int, count: int) -> list[slice]:
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


OPERATIONS: dict[str, Run] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "channel_affine": _channel_affine,
    "layer_norm": _layer_norm,
    "relu": _relu,
    "relu6": _relu6,
    "silu": _silu,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
    "softmax": _softmax,
    "add": _add,
    "concat": _concat,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": _flatten,
}
