"""A packed network as an ONNX model with dense float32 weights, for the engines that users would pick
instead.

Shapes are fixed to one batch, which gives those engines their best case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gossamer.bench.subject import DenseNetwork, attributes_of
from gossamer.graph import Node

OPSET = 20


class _Builder:
    """Collects nodes and initializers of one ONNX graph."""

    def __init__(self, dense: DenseNetwork, batch: int) -> None:
        import onnx

        self._helper = onnx.helper
        self._numpy_helper = onnx.numpy_helper
        self.dense = dense
        self.shapes = dense.value_shapes(batch)
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}

    def emit(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self._helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """An initializer; its name cannot be that of a value, because weights may be called like nodes."""
        name = f"constant/{name}"
        self.initializers.setdefault(name, self._numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def vector(self, node: Node, role: str) -> str:
        name = node.weights[role]
        return self.constant(name, self.dense.weights[name])


def to_onnx(dense: DenseNetwork, batch: int) -> bytes:
    """Serialize the network, batch fixed, as an ONNX model (opset 20)."""
    import onnx

    builder = _Builder(dense, batch)
    for node in dense.network.nodes:
        _EMIT[node.op](builder, node)
    float32 = onnx.TensorProto.FLOAT
    inputs = [
        onnx.helper.make_tensor_value_info(value.name, float32, builder.shapes[value.name])
        for value in dense.network.inputs
    ]
    outputs = [
        onnx.helper.make_tensor_value_info(output.value, float32, builder.shapes[output.value])
        for output in dense.network.outputs
    ]
    graph = onnx.helper.make_graph(
        builder.nodes, dense.network.name, inputs, outputs, list(builder.initializers.values())
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _conv2d(builder: _Builder, node: Node) -> None:
    attributes = attributes_of(node)
    name = node.weights["weight"]
    kernel = tuple(attributes["kernel"])
    inputs = [node.inputs[0], builder.constant(f"{name}/{kernel}", builder.dense.conv_weight(name, kernel))]
    if "bias" in node.weights:
        inputs.append(builder.vector(node, "bias"))
    builder.emit(
        "Conv",
        inputs,
        node.outputs[0],
        kernel_shape=attributes["kernel"],
        strides=attributes["stride"],
        pads=attributes["padding"],
        dilations=attributes["dilation"],
        group=attributes["groups"],
    )


def _linear(builder: _Builder, node: Node) -> None:
    output = node.outputs[0]
    if len(builder.shapes[node.inputs[0]]) == 2:
        weight = builder.vector(node, "weight")
        bias = [builder.vector(node, "bias")] if "bias" in node.weights else []
        builder.emit("Gemm", [node.inputs[0], weight, *bias], output, transB=1)
        return
    name = node.weights["weight"]
    transposed = builder.constant(f"{name}/transposed", builder.dense.weights[name].T)
    if "bias" in node.weights:
        builder.emit("MatMul", [node.inputs[0], transposed], f"{output}/product")
        builder.emit("Add", [f"{output}/product", builder.vector(node, "bias")], output)
    else:
        builder.emit("MatMul", [node.inputs[0], transposed], output)


def _channel_affine(builder: _Builder, node: Node) -> None:
    x, output = node.inputs[0], node.outputs[0]
    shape = (-1, *([1] * (len(builder.shapes[x]) - 2)))
    scale, shift = (
        builder.constant(f"{output}/{role}", builder.dense.weights[node.weights[role]].reshape(shape))
        for role in ("scale", "shift")
    )
    builder.emit("Mul", [x, scale], f"{output}/scaled")
    builder.emit("Add", [f"{output}/scaled", shift], output)


def _layer_norm(builder: _Builder, node: Node) -> None:
    x, output, axes = node.inputs[0], node.outputs[0], attributes_of(node)["axes"]
    shape = builder.shapes[x][-axes:]
    weights = builder.dense.weights
    scale = weights[node.weights["weight"]] if "weight" in node.weights else np.ones(shape, np.float32)
    inputs = [x, builder.constant(f"{output}/weight", scale.reshape(shape))]
    if "bias" in node.weights:
        inputs.append(builder.constant(f"{output}/bias", weights[node.weights["bias"]].reshape(shape)))
    builder.emit(
        "LayerNormalization", inputs, output, axis=-axes, epsilon=float(attributes_of(node)["epsilon"])
    )


def _relu6(builder: _Builder, node: Node) -> None:
    bounds = [builder.constant(f"clip/{bound}", np.array(bound, np.float32)) for bound in (0.0, 6.0)]
    builder.emit("Clip", [node.inputs[0], *bounds], node.outputs[0])


def _silu(builder: _Builder, node: Node) -> None:
    output = node.outputs[0]
    builder.emit("Sigmoid", [node.inputs[0]], f"{output}/sigmoid")
    builder.emit("Mul", [node.inputs[0], f"{output}/sigmoid"], output)


def _pool(op: str) -> Callable[[_Builder, Node], None]:
    def emit(builder: _Builder, node: Node) -> None:
        attributes = attributes_of(node)
        extra: dict[str, Any] = (
            {"dilations": attributes["dilation"]}
            if op == "MaxPool"
            else {"count_include_pad": int(attributes["count_include_pad"])}
        )
        builder.emit(
            op,
            list(node.inputs),
            node.outputs[0],
            kernel_shape=attributes["kernel"],
            strides=attributes["stride"],
            pads=attributes["padding"],
            **extra,
        )

    return emit


def _adaptive_avg_pool2d(builder: _Builder, node: Node) -> None:
    """Windows of equal size are average pooling; others are a product with the weights of the means on each
    side."""
    x, output = node.inputs[0], node.outputs[0]
    height, width = builder.shapes[x][2:]
    out_height, out_width = attributes_of(node)["output"]
    if [out_height, out_width] == [1, 1]:
        builder.emit("GlobalAveragePool", [x], output)
    elif height % out_height == 0 and width % out_width == 0:
        kernel = [height // out_height, width // out_width]
        builder.emit("AveragePool", [x], output, kernel_shape=kernel, strides=kernel)
    else:
        rows = builder.constant(f"{output}/rows", _means(height, out_height))
        columns = builder.constant(f"{output}/columns", _means(width, out_width).T)
        builder.emit("MatMul", [rows, x], f"{output}/pooled_rows")
        builder.emit("MatMul", [f"{output}/pooled_rows", columns], output)


def _means(size: int, out: int) -> np.ndarray:
    """[out, size]: row i holds the mean over floor(i size / out) .. ceil((i + 1) size / out)."""
    matrix = np.zeros((out, size), np.float32)
    for row in range(out):
        start, stop = row * size // out, -(-(row + 1) * size // out)
        matrix[row, start:stop] = 1 / (stop - start)
    return matrix


def _flatten(builder: _Builder, node: Node) -> None:
    output = node.outputs[0]
    shape = builder.constant(f"{output}/shape", np.array(builder.shapes[output], np.int64))
    builder.emit("Reshape", [node.inputs[0], shape], output)


def _simple(op: str, *attributes: str) -> Callable[[_Builder, Node], None]:
    def emit(builder: _Builder, node: Node) -> None:
        values = {name: attributes_of(node)[name] for name in attributes}
        builder.emit(op, list(node.inputs), node.outputs[0], **values)

    return emit


_EMIT: dict[str, Callable[[_Builder, Node], None]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "channel_affine": _channel_affine,
    "layer_norm": _layer_norm,
    "relu": _simple("Relu"),
    "relu6": _relu6,
    "silu": _silu,
    "sigmoid": _simple("Sigmoid"),
    "gelu": _simple("Gelu", "approximate"),
    "softmax": _simple("Softmax", "axis"),
    "add": _simple("Add"),
    "concat": _simple("Concat", "axis"),
    "max_pool2d": _pool("MaxPool"),
    "avg_pool2d": _pool("AveragePool"),
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": _flatten,
}
