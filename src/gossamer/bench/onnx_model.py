"""A packed network as an ONNX model with dense float32 weights, for the engines that users would pick
instead.

Shapes are fixed to one batch, which gives those engines their best case; a free length is taken at its largest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.bench.onnx_builder import Builder
from gossamer.bench.onnx_version_2 import EMIT as EMIT_VERSION_2
from gossamer.bench.subject import DenseNetwork, Subject, attributes_of
from gossamer.errors import RuntimeFailure
from gossamer.graph import Node

OPSET = 20


def onnx_file(subject: Subject, folder: Path, batch: int) -> Path:
    """The dense twin as an ONNX file in `folder`, written once for all engines that read it."""
    path = folder / f"{subject.dense_path.stem}-{batch}.onnx"
    if not path.exists():
        path.write_bytes(to_onnx(DenseNetwork.of(subject.dense_path), batch))
    return path


def to_onnx(dense: DenseNetwork, batch: int) -> bytes:
    """Serialize the network, batch fixed, as an ONNX model (opset 20)."""
    import onnx

    builder = Builder(dense, batch)
    float32, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    inputs = [
        onnx.helper.make_tensor_value_info(
            builder.port(value), int64 if value.dtype == "int64" else float32, builder.shapes[value.name]
        )
        for value in dense.network.inputs
    ]
    for node in dense.network.nodes:
        emit = _EMIT.get(node.op) or EMIT_VERSION_2.get(node.op)
        if emit is None:
            raise RuntimeFailure(f"node {node.name!r}: the operator {node.op} has no dense twin in ONNX yet")
        emit(builder, node)
    outputs = [
        onnx.helper.make_tensor_value_info(output.value, float32, builder.shapes[output.value])
        for output in dense.network.outputs
    ]
    graph = onnx.helper.make_graph(builder.nodes, dense.network.name, inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    model.graph.initializer.extend(builder.initializers.values())  # last: what is made before copies them
    data: bytes = model.SerializeToString()
    onnx.checker.check_model(data)
    return data


def _conv2d(builder: Builder, node: Node) -> None:
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


def _linear(builder: Builder, node: Node) -> None:
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


def _channel_affine(builder: Builder, node: Node) -> None:
    x, output = node.inputs[0], node.outputs[0]
    shape = (-1, *([1] * (len(builder.shapes[x]) - 2)))
    scale, shift = (
        builder.constant(f"{output}/{role}", builder.dense.weights[node.weights[role]].reshape(shape))
        for role in ("scale", "shift")
    )
    builder.emit("Mul", [x, scale], f"{output}/scaled")
    builder.emit("Add", [f"{output}/scaled", shift], output)


def _layer_norm(builder: Builder, node: Node) -> None:
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


def _relu6(builder: Builder, node: Node) -> None:
    bounds = [builder.constant(f"clip/{bound}", np.array(bound, np.float32)) for bound in (0.0, 6.0)]
    builder.emit("Clip", [node.inputs[0], *bounds], node.outputs[0])


def _silu(builder: Builder, node: Node) -> None:
    output = node.outputs[0]
    builder.emit("Sigmoid", [node.inputs[0]], f"{output}/sigmoid")
    builder.emit("Mul", [node.inputs[0], f"{output}/sigmoid"], output)


def _pool(op: str) -> Callable[[Builder, Node], None]:
    def emit(builder: Builder, node: Node) -> None:
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


def _adaptive_avg_pool2d(builder: Builder, node: Node) -> None:
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


def _flatten(builder: Builder, node: Node) -> None:
    output = node.outputs[0]
    shape = builder.constant(f"{output}/shape", np.array(builder.shapes[output], np.int64))
    builder.emit("Reshape", [node.inputs[0], shape], output)


def _simple(op: str, *attributes: str) -> Callable[[Builder, Node], None]:
    def emit(builder: Builder, node: Node) -> None:
        values = {name: attributes_of(node)[name] for name in attributes}
        builder.emit(op, list(node.inputs), node.outputs[0], **values)

    return emit


_EMIT: dict[str, Callable[[Builder, Node], None]] = {
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
