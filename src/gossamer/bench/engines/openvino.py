"""OpenVINO on the dense twin, in float32 and with int8 post-training quantization."""

from __future__ import annotations

import logging
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.bench.engines.base import Arrays, Artifact, Run, require
from gossamer.bench.onnx_model import onnx_file
from gossamer.bench.subject import DenseNetwork, Subject, random_inputs

CALIBRATION_SAMPLES = 256
RANDOM_SAMPLES = 4


class OpenVino:
    """Dense float32. The precision is pinned: on CPUs with bfloat16 units OpenVINO would otherwise leave
    float32 silently."""

    name = "openvino"
    runs_packed = False

    def build(self, subject: Subject, folder: Path, *, batch: int) -> Artifact:
        """Convert the dense twin to OpenVINO's own format, float32."""
        return _save(_convert(subject, folder, batch, self.name), folder / f"{self.name}.xml")

    def open(self, path: Path, *, batch: int, threads: int) -> Run:
        """Compile for one stream."""
        del batch
        return _compile(path, threads, self.name)


class OpenVinoInt8:
    """Dense int8 by NNCF's post-training quantization with its default preset; weights and activations in 8
    bits."""

    name = "openvino_int8"
    runs_packed = False

    def build(self, subject: Subject, folder: Path, *, batch: int) -> Artifact:
        """Quantize with the subject's calibration inputs, or with random ones (the note says so)."""
        model = _convert(subject, folder, batch, self.name)
        nncf = require("nncf", self.name)
        logging.getLogger("nncf").setLevel(logging.ERROR)
        ports = DenseNetwork.of(subject.dense_path).ports(batch)
        note = ""
        settings: dict[str, Any] = {}
        if subject.calibration is not None and len(ports) == 1:
            samples: list[Any] = _batches(subject.calibration, batch)
        else:
            samples = [random_inputs(ports, seed) for seed in range(RANDOM_SAMPLES)]
            note = "calibrated with random inputs: judge its speed, not its accuracy"
            # correcting biases changes their values alone, and is half of the time of BERT's quantization
            settings["advanced_parameters"] = nncf.AdvancedQuantizationParameters(
                disable_bias_correction=True
            )
        with redirect_stdout(StringIO()):  # its progress bars would spoil JSON on standard output
            quantized = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples), **settings)
        return _save(quantized, folder / f"{self.name}.xml", note)

    def open(self, path: Path, *, batch: int, threads: int) -> Run:
        """Compile for one stream."""
        del batch
        return _compile(path, threads, self.name)


def _convert(subject: Subject, folder: Path, batch: int, engine: str) -> Any:
    require("onnx", engine)
    openvino = require("openvino", engine)
    path = onnx_file(subject, folder, batch)
    return openvino.Core().read_model(path)


def _save(model: Any, path: Path, note: str = "") -> Artifact:
    import openvino

    openvino.save_model(model, str(path), compress_to_fp16=False)
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    return Artifact(path=path, bytes_on_disk=size, note=note)


def _compile(path: Path, threads: int, engine: str) -> Run:
    openvino = require("openvino", engine)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": "NO",
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    outputs = range(len(compiled.outputs))

    def run(inputs: Arrays) -> Arrays:
        request.infer(inputs, share_inputs=True, share_outputs=True)  # otherwise it copies the outputs, too
        return [np.array(request.get_output_tensor(index).data) for index in outputs]

    return run


def _batches(calibration: np.ndarray, batch: int) -> Arrays:
    count = max(1, min(CALIBRATION_SAMPLES, len(calibration) // batch))
    needed = np.resize(calibration, (count * batch, *calibration.shape[1:])).astype(np.float32)
    return [needed[index * batch : (index + 1) * batch] for index in range(count)]
