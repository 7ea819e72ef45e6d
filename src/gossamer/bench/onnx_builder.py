"""Collects the nodes and initializers of one ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from gossamer.bench.subject import DenseNetwork
from gossamer.graph import Input, Node


class Builder:
    """The graph so far; values keep the names that they have in the packed network."""

    def __init__(self, dense: DenseNetwork, batch: int) -> None:
        import onnx

        self._helper = onnx.helper
        self._numpy_helper = onnx.numpy_helper
        self.dense = dense
        self.shapes = dense.value_shapes(batch)
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._whole: set[str] = set()
        types = onnx.TensorProto
        self._float32, self._int64, self._bool = types.FLOAT, types.INT64, types.BOOL

    def emit(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self._helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))
        return output

    def emit_many(self, op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """A node of several outputs."""
        self.nodes.append(
            self._helper.make_node(op, inputs, outputs, name=f"{outputs[0]}/{op}", **attributes)
        )

    def constant(self, name: str, value: np.ndarray) -> str:
        """An initializer; its name cannot be that of a value, because weights may be called like nodes."""
        name = f"constant/{name}"
        self.initializers.setdefault(name, self._numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def vector(self, node: Node, role: str) -> str:
        name = node.weights[role]
        return self.constant(name, self.dense.weights[name])

    def attributes(self, node: Node) -> dict[str, Any]:
        """The attributes as plain values."""
        return dict(node.attributes)

    def integers(self, name: str, values: Any) -> str:
        """An int64 initializer."""
        return self.constant(name, np.asarray(values, np.int64))

    def port(self, value: Input) -> str:
        """Name of an input in the ONNX graph: whole numbers come as int64 and are converted at once, except for tables."""
        if value.dtype != "int64":
            return value.name
        whole = self.whole_name(value.name)
        self._whole.add(value.name)
        self.emit("Cast", [whole], value.name, to=self._float32)
        return whole

    def whole(self, value: str) -> str:
        """An int64 version of a value."""
        if value in self._whole:
            return self.whole_name(value)
        return self.emit("Cast", [value], f"{value}/int64", to=self._int64)

    @staticmethod
    def whole_name(value: str) -> str:
        return f"{value}/whole"

    def cast(self, value: str, output: str, *, to_bool: bool) -> str:
        """0 and 1 to booleans, or booleans to 0 and 1."""
        return self.emit("Cast", [value], output, to=self._bool if to_bool else self._float32)
