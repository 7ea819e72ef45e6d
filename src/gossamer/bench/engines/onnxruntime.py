"""ONNX Runtime on the dense twin."""

from __future__ import annotations

from pathlib import Path

from gossamer.bench.engines.base import Arrays, Artifact, Run, require
from gossamer.bench.onnx_model import onnx_file
from gossamer.bench.subject import Subject


class OnnxRuntime:
    """Dense float32 on the CPU provider, all graph optimizations, shapes fixed to the batch."""

    name = "onnxruntime"
    runs_packed = False

    def build(self, subject: Subject, folder: Path, *, batch: int) -> Artifact:
        """Export the dense twin to ONNX."""
        require("onnx", self.name)
        path = onnx_file(subject, folder, batch)
        return Artifact(path=path, bytes_on_disk=path.stat().st_size)

    def open(self, path: Path, *, batch: int, threads: int) -> Run:
        """Create a session."""
        del batch
        ort = require("onnxruntime", self.name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]

        def run(inputs: Arrays) -> Arrays:
            outputs: Arrays = session.run(None, dict(zip(names, inputs, strict=True)))
            return outputs

        return run
