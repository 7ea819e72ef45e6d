"""Does the packed file compute what the ONNX file computes? ONNX Runtime answers where it is installed, else the (slow)
reference implementation of the package `onnx`.

Random inputs; whole numbers are legal indices of the tables they choose from, else a mask of ones with zeros at
the end. The measure is that of gossamer.export.agreement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gossamer import runtime
from gossamer.errors import ExportError, RuntimeFailure
from gossamer.export.agreement import MACS, Comparison
from gossamer.export.onnx.reader import OnnxModel
from gossamer.export.onnx.sizes import InputSizes
from gossamer.export.report import Verification
from gossamer.runtime.threads import usable_cpus

ELEMENTS = 2**27  # of all inputs of one run, at most


class Reference:
    """The ONNX file, run by another engine."""

    def __init__(self, model: OnnxModel) -> None:
        self.outputs = [item.name for item in model.outputs]
        self.remarks: list[str] = []
        self._run = self._onnxruntime(model) or _reference(model)

    def _onnxruntime(self, model: OnnxModel) -> Any:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            return None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = usable_cpus()
        source = _densified(model).SerializeToString() if model.sparse else str(model.path)
        try:
            return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run
        except Exception as error:  # its types share no other base; a newer opset than it knows, say
            self.remarks.append(
                f"compared with the reference implementation of onnx, because ONNX Runtime refuses the file: {str(error)[:300]}"
            )
            return None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""
        try:
            results = self._run(self.outputs, dict(feeds))
        except Exception as error:  # other engines raise types of their own
            shapes = {name: list(array.shape) for name, array in feeds.items()}
            raise ExportError(
                f"the ONNX file itself does not run on inputs of the shapes {shapes}: {str(error)[:300]}"
            ) from error
        return dict(zip(self.outputs, results, strict=True))


def verify(
    candidate: bytes,
    model: OnnxModel,
    inputs: Sequence[InputSizes],
    batches: Mapping[str, int],
    vocabularies: Mapping[str, int],
    *,
    max_batch: int | None,
    max_length: int | None,
    part: int | None,
    tolerance: float,
    dtype: str,
) -> tuple[Verification, list[str]]:
    """Compare; ExportError where an error is above `tolerance`. Also remarks for the report.

    max_batch, max_length: None where there is none. part: the batch that the file itself is fixed to, where the packed one is free:
    it is given that many examples at a time.
    """
    reference = Reference(model)
    session = runtime.load(candidate, threads=min(2, usable_cpus()))
    generator = np.random.default_rng(0)
    comparison = Comparison()
    for batch, length in _runs(session, inputs, max_batch, max_length, part or 1):
        feeds = {item.name: _random(item, batch, length, vocabularies, generator) for item in inputs}
        expected = _expected(reference, inputs, batches, feeds, 1 if part is None else batch // part)
        try:
            found = session.run({item.name: _given(feeds[item.name], item) for item in inputs})
        except RuntimeFailure as failure:
            raise ExportError(f"the packed network does not run at batch {batch}: {failure}") from failure
        label = f"{batch}" if max_length is None else f"{batch}x{length}"
        for name, value in expected.items():
            wanted = np.moveaxis(value, batches[name], 0).astype(np.float32)
            comparison.add(label, name, found[name], wanted)
    result = comparison.verdict(str(model.path), engine=session.engine, tolerance=tolerance, dtype=dtype)
    return result, reference.remarks


def _runs(
    session: runtime.Session,
    inputs: Sequence[InputSizes],
    max_batch: int | None,
    max_length: int | None,
    part: int,
) -> list[tuple[int, int]]:
    if max_batch is None:
        fixed = inputs[0].sizes[inputs[0].batch]
        assert isinstance(fixed, int)
        batches = [fixed]
    else:
        macs = sum(int(row["macs_dense"]) for row in session.layers())
        elements = sum(math.prod(item.at(1, max_length or 1)) for item in inputs)
        most = int(min(MACS[session.engine] / max(macs, 1), ELEMENTS / elements, 16))
        wanted = {1, min(2, max_batch), min(max_batch, max(2, most))}
        batches = sorted({-(-batch // part) * part for batch in wanted})
    if max_length is None:
        return [(batch, 1) for batch in batches]
    lengths = sorted({1, max_length // 2 + 1, max_length})
    return [*((batches[0], length) for length in lengths), *((batch, lengths[1]) for batch in batches[1:])]


def _random(
    item: InputSizes, batch: int, length: int, vocabularies: Mapping[str, int], generator: np.random.Generator
) -> np.ndarray:
    shape = item.at(batch, length)
    if item.dtype.kind == "f":
        return generator.standard_normal(shape).astype(item.dtype)
    if item.name in vocabularies:
        return generator.integers(0, vocabularies[item.name], shape).astype(item.dtype)
    ones = generator.integers(1, shape[-1] + 1, (*shape[:-1], 1))
    return (np.arange(shape[-1]) < ones).astype(item.dtype)


def _given(array: np.ndarray, item: InputSizes) -> np.ndarray:
    """As the packed network takes it: the batch first, float32 or int64."""
    return np.ascontiguousarray(np.moveaxis(array, item.batch, 0)).astype(
        np.float32 if item.dtype.kind == "f" else np.int64
    )


def _expected(
    reference: Reference,
    inputs: Sequence[InputSizes],
    batches: Mapping[str, int],
    feeds: Mapping[str, np.ndarray],
    parts: int,
) -> dict[str, np.ndarray]:
    if parts == 1:
        return reference.run(feeds)
    single = [
        reference.run({item.name: np.split(feeds[item.name], parts, axis=item.batch)[i] for item in inputs})
        for i in range(parts)
    ]
    return {name: np.concatenate([one[name] for one in single], axis=batches[name]) for name in single[0]}


def _reference(model: OnnxModel) -> Any:
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(_densified(model) if model.sparse else model.proto).run


def _densified(model: OnnxModel) -> Any:
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.sparse_initializer[:]
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(model.constants[n], n) for n in sorted(model.sparse)
    )
    return proto
