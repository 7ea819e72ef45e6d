"""Operations of constants are computed here, one node at a time, with the reference implementation (NumPy) of
the package `onnx`.

Results are kept by the identity of their inputs: the graph is walked at several sizes, weights stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gossamer.export.draft import Unsupported
from gossamer.export.onnx.reader import OnnxNode


class Evaluator:
    """Evaluates single nodes of one model."""

    def __init__(self, proto: Any) -> None:
        self._opsets = list(proto.opset_import)
        self._known: dict[tuple[int, tuple[int, ...]], tuple[tuple[np.ndarray, ...], Sequence[object]]] = {}
        self._runners: dict[int, Any] = {}

    def __call__(self, node: OnnxNode, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """The results of `node`."""
        key = (id(node), tuple(id(value) for value in inputs))
        if key not in self._known:  # the inputs are kept, so that an id stays theirs
            self._known[key] = (self._run(node, inputs), list(inputs))
        return self._known[key][0]

    def _run(self, node: OnnxNode, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        runner = self._runners.get(id(node)) or self._runner(node)
        self._runners[id(node)] = runner
        feed = {
            name: value for name, value in zip(node.inputs, inputs, strict=True) if name and value is not None
        }
        try:
            return tuple(np.asarray(value) for value in runner.run(None, feed))
        except Exception as error:
            raise Unsupported(
                f"cannot be computed of constants ({type(error).__name__}: {str(error)[:100]})",
                "a model without it: onnxsim or the exporter's own optimizer can remove it",
            ) from error

    def _runner(self, node: OnnxNode) -> Any:
        import onnx
        from onnx.reference import ReferenceEvaluator

        empty = [
            onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(node.inputs) if name
        ]
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.outputs if name]
        graph = onnx.helper.make_graph([node.proto], "one", empty, outputs)
        model = onnx.helper.make_model(graph, opset_imports=self._opsets)
        return ReferenceEvaluator(model)
