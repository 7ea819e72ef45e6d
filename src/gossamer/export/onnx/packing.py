"""pack_onnx: ONNX file -> draft at concrete sizes -> free sizes -> folded, compact -> one verified file."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gossamer._version import __version__
from gossamer.errors import ExportError, GraphError
from gossamer.export.agreement import TOLERANCES
from gossamer.export.arguments import (
    check_labels,
    check_manifest,
    checked_preprocessing,
    checked_target,
    pattern_of,
)
from gossamer.export.draft import Draft, DraftNode
from gossamer.export.fold import fold
from gossamer.export.onnx.evaluate import Evaluator
from gossamer.export.onnx.fuse import fuse
from gossamer.export.onnx.reader import OnnxModel, read
from gossamer.export.onnx.sizes import BATCH, PROBES, InputSizes, Sizes, sizes_of, with_batch
from gossamer.export.onnx.symbolic import LENGTH, Lengths, same_batch, with_length
from gossamer.export.onnx.verify import verify
from gossamer.export.onnx.walk import Walked, walk
from gossamer.export.report import PackReport
from gossamer.export.weights import PackedWeights, pack_weights
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, ImagePreprocessing, Input, Manifest, Network, Node, Output
from gossamer.graph.strict_json import Json


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """The draft with free sizes. reason: why the batch is fixed, None where it is free."""

    walked: Walked
    inputs: tuple[InputSizes, ...]
    free_batch: bool
    has_length: bool
    reason: str | None


def pack_onnx(
    source: str | Path,
    path: str | Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    pattern: object = None,
    dtype: str = "float16",
    max_batch: int = 64,
    max_length: int = 512,
    labels: Sequence[str] | None = None,
    preprocessing: ImagePreprocessing | Mapping[str, Json] | None = None,
    recipe: Mapping[str, Json] | None = None,
    metrics: Mapping[str, Json] | None = None,
    license: str | None = None,
    name: str | None = None,
    tolerance: float | None = None,
) -> PackReport:
    """Pack the ONNX file `source` into the file `path` and return what was done.

    Zeros of the weights count as absent, those of sparse initializers too. shapes: sizes of inputs, by name, where the
    file leaves more free than the batch and one length. pattern: of the zeros, e.g. "gs:8,1"; other zeros are stored
    unstructured. dtype: of the matrices' values, float16 or float32. max_batch, max_length: largest sizes the file
    is made for, where they are free. tolerance: largest relative error against the ONNX file, 5e-3 for float16
    and 1e-4 for float32 by default.
    """
    target = checked_target(path, dtype=dtype, max_batch=max_batch, tolerance=tolerance)
    check_manifest(
        {"recipe": recipe, "metrics": metrics}, texts={"name": name, "license": license}, labels=labels
    )
    block = checked_preprocessing(preprocessing)
    pattern_text = pattern_of(pattern, None)
    model = read(source)
    lowered = lower(model, sizes_of(model, shapes), max_batch=max_batch, max_length=max_length)
    draft = lowered.walked.draft
    fuse(draft)
    nodes = fold(draft)
    if not nodes:
        raise ExportError(f"{model.path}: expected at least one operation, got none")
    check_labels(labels, draft)
    weights = pack_weights(nodes, pattern=pattern_text, dtype=dtype, zeros_are_absent=True)
    manifest = Manifest(
        network=_network(name or model.name, lowered, nodes, weights, max_batch, max_length),
        library=f"gossamer {__version__}",
        preprocessing=None if block is None else block.to_json(),
        labels=None if labels is None else tuple(labels),
        recipe=recipe,
        metrics=metrics,
        license=license,
        versions={
            "gossamer": __version__,
            "onnx opset": str(model.opset),
            "python": platform.python_version(),
        },
    )
    try:
        candidate = packed_file.to_bytes(manifest, weights.weights)
        checked = verify(
            candidate,
            model,
            lowered.inputs,
            lowered.walked.batches,
            lowered.walked.vocabularies,
            max_batch=max_batch if lowered.free_batch else None,
            max_length=max_length if lowered.has_length else None,
            one_by_one=lowered.free_batch and sizes_of(model, shapes).fixed == 1,
            tolerance=TOLERANCES[dtype] if tolerance is None else tolerance,
            dtype=dtype,
        )
        size = packed_file.write(target, replace(manifest, verification=checked.to_json()), weights.weights)
    except GraphError as error:
        raise ExportError(f"the lowered network breaks a rule of the packed file: {error}") from error
    return PackReport(
        path=target,
        bytes=size,
        bytes_dense=sum(4 * row.num_weights for row in weights.reports if row.of_model),
        batch=_sizes_text(lowered, max_batch, max_length),
        nodes=len(nodes),
        weights=weights.reports,
        verification=checked,
        notes=tuple(_notes(lowered)),
    )


def lower(model: OnnxModel, sizes: Sizes, *, max_batch: int, max_length: int) -> Lowered:
    """With a free batch where that is possible, else with that of the file."""
    evaluator = Evaluator(model.proto)
    reason = None if max_batch > 1 or sizes.fixed is None else "max_batch is 1"
    if reason is None and (sizes.fixed is None or sizes.fixed == 1):
        try:
            return _lowered(model, evaluator, sizes, with_batch(sizes, BATCH), None, max_length)
        except ExportError as error:
            reason = str(error).splitlines()[0]
    elif reason is None:
        reason = "the file says so"
    return _lowered(model, evaluator, sizes, with_batch(sizes, sizes.fixed or 1), reason, max_length)


def _lowered(
    model: OnnxModel,
    evaluator: Evaluator,
    sizes: Sizes,
    inputs: tuple[InputSizes, ...],
    reason: str | None,
    max_length: int,
) -> Lowered:
    free = inputs[0].sizes[inputs[0].batch] == BATCH
    first = walk(model, evaluator, [item.walk_input(PROBES[0], max_length) for item in inputs])
    if free:
        same_batch(
            first.draft, walk(model, evaluator, [i.walk_input(PROBES[1], max_length) for i in inputs]).draft
        )
    has_length = sizes.has_length and max_length > 1
    if has_length:
        other = max_length * 2 // 3 + (max_length < 3)
        shorter = walk(model, evaluator, [item.walk_input(PROBES[0], other) for item in inputs])
        with_length(first.draft, shorter.draft, Lengths(first=max_length, other=other))
    return Lowered(walked=first, inputs=inputs, free_batch=free, has_length=has_length, reason=reason)


def _network(
    name: str,
    lowered: Lowered,
    nodes: Sequence[DraftNode],
    weights: PackedWeights,
    max_batch: int,
    max_length: int,
) -> Network:
    dims = {BATCH: FreeDim(min=1, max=max_batch)} if lowered.free_batch else {}
    if lowered.has_length:
        dims[LENGTH] = FreeDim(min=1, max=max_length)
    draft: Draft = lowered.walked.draft
    return Network(
        name=name,
        dims=dims,
        inputs=tuple(
            Input(
                name=item.name,
                shape=item.network_shape,
                dtype="float32" if item.dtype.kind == "f" else "int64",
            )
            for item in lowered.inputs
        ),
        outputs=tuple(Output(name=key, value=value) for key, value in draft.outputs),
        nodes=tuple(
            Node(
                op=node.op,
                name=node.name,
                inputs=node.inputs,
                outputs=(node.output,),
                attributes=node.attributes,
                weights=weights.roles[node.name],
            )
            for node in nodes
        ),
    )


def _sizes_text(lowered: Lowered, max_batch: int, max_length: int) -> str:
    fixed = lowered.inputs[0].sizes[lowered.inputs[0].batch]
    batch = f"batch 1 to {max_batch}" if lowered.free_batch else f"batch {fixed}"
    return f"{batch}, length 1 to {max_length}" if lowered.has_length else batch


def _notes(lowered: Lowered) -> list[str]:
    notes = ["zeros of the weights count as absent"]
    if lowered.reason is not None:
        notes.append(f"the batch is fixed: {lowered.reason}")
    for name, place in lowered.walked.batches.items():
        if place:
            notes.append(f"output {name}: the batch comes first (in the ONNX file it is dimension {place})")
    for item in lowered.inputs:
        if item.batch:
            notes.append(
                f"input {item.name}: the batch comes first (in the ONNX file it is dimension {item.batch})"
            )
    return notes
