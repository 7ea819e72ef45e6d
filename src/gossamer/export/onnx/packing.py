"""pack_onnx: ONNX file -> draft at concrete sizes -> free sizes -> folded, compact -> one verified file."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from gossamer._version import __version__
from gossamer.errors import ExportError, GraphError
from gossamer.export.agreement import TOLERANCES
from gossamer.export.arguments import (
    MAX_BATCH,
    check_labels,
    check_manifest,
    checked_preprocessing,
    checked_target,
    pattern_of,
)
from gossamer.export.draft import Draft, DraftNode
from gossamer.export.fold import fold
from gossamer.export.fuse import fuse
from gossamer.export.length import LENGTH, unify
from gossamer.export.onnx.evaluate import Evaluator
from gossamer.export.onnx.reader import OnnxModel, read
from gossamer.export.onnx.sizes import BATCH, PROBES, InputSizes, Sizes, example_of, sizes_of, with_batch
from gossamer.export.onnx.verify import verify
from gossamer.export.onnx.walk import Walked, walk
from gossamer.export.report import PackReport, Verification
from gossamer.export.weights import PackedWeights, pack_weights
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, ImagePreprocessing, Input, Manifest, Network, Output, State
from gossamer.graph.strict_json import Json

LONGEST = 512


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """The draft with free sizes. reason: why the batch is fixed; max_length: None where no length is free."""

    walked: Walked
    inputs: tuple[InputSizes, ...]
    free_batch: bool
    max_length: int | None
    reason: str | None


def pack_onnx(
    source: str | Path,
    path: str | Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    pattern: object = None,
    dtype: str = "float16",
    max_batch: int = 64,
    max_length: int | None = None,
    labels: Sequence[str] | None = None,
    preprocessing: ImagePreprocessing | Mapping[str, Json] | None = None,
    recipe: Mapping[str, Json] | None = None,
    metrics: Mapping[str, Json] | None = None,
    license: str | None = None,
    name: str | None = None,
    tolerance: float | None = None,
    states: Mapping[str, str] | None = None,
    batch_dims: Mapping[str, int] | None = None,
) -> PackReport:
    """Pack the ONNX file `source` into the file `path` and return what was done.

    Zeros of the weights count as absent, those of sparse initializers too. shapes: sizes of inputs, by name, where the file
    leaves more free than the batch and one length. pattern: of the zeros, e.g. "gs:8,1"; other zeros are stored unstructured.
    dtype: of the matrices' values, float16 or float32. max_batch, max_length: largest sizes the packed file is made for, where
    they are free; None: the longest up to 512 that the graph allows. tolerance: largest relative error against the ONNX
    file, 5e-3 for float16 and 1e-4 for float32 by default. states: input name -> name of the output whose value a session
    hands to it at the next run. batch_dims: dimension of the batch of inputs that have it elsewhere than the file's names
    tell; in the packed file it comes first.
    """
    target = checked_target(path, dtype=dtype, max_batch=max_batch, tolerance=tolerance)
    check_manifest(
        {"recipe": recipe, "metrics": metrics}, texts={"name": name, "license": license}, labels=labels
    )
    block = checked_preprocessing(preprocessing)
    pattern_text = pattern_of(pattern, None)
    model = read(source)
    sizes = sizes_of(model, shapes, batch_dims)
    lowered = lower(model, sizes, max_batch=max_batch, max_length=checked_length(max_length))
    draft = lowered.walked.draft
    fuse(draft)
    nodes = fold(draft)
    if not nodes:
        raise ExportError(f"{model.path}: expected at least one operation, got none")
    check_labels(labels, draft)
    weights = pack_weights(nodes, pattern=pattern_text, dtype=dtype, zeros_are_absent=True)
    manifest = Manifest(
        network=_network(name or model.name, lowered, nodes, weights, max_batch, states or {}),
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
        checked, remarks = verify(
            candidate,
            model,
            lowered.inputs,
            lowered.walked.batches,
            lowered.walked.vocabularies,
            max_batch=max_batch if lowered.free_batch else None,
            max_length=lowered.max_length,
            part=sizes.fixed if lowered.free_batch else None,
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
        batch=_sizes_text(lowered, max_batch),
        nodes=len(nodes),
        weights=weights.reports,
        verification=checked,
        notes=(*_notes(lowered, checked, max_batch), *remarks),
    )


def checked_length(max_length: object) -> int | None:
    """`max_length`, an integer of at least 2 or None."""
    if max_length is None or (
        isinstance(max_length, int) and not isinstance(max_length, bool) and 2 <= max_length <= MAX_BATCH
    ):
        return max_length
    raise ExportError(f"max_length: expected an integer from 2 to {MAX_BATCH}, got {max_length!r}")


def lower(model: OnnxModel, sizes: Sizes, *, max_batch: int, max_length: int | None) -> Lowered:
    """With a free batch where that is possible, else with that of the file."""
    evaluator = Evaluator(model.proto)
    if not sizes.has_length:
        return _at_length(model, evaluator, sizes, max_batch, None)
    try:
        return _at_length(model, evaluator, sizes, max_batch, max_length or LONGEST)
    except ExportError as error:
        if max_length is None:
            found = _longest(model, evaluator, sizes, max_batch)
            if found is not None:
                return found
        raise ExportError(
            f"{error}\nThis was tried with a free length; where the model was exported at one length, fix it with "
            f"shapes={example_of(sizes)} (--input SIZES where there is one input)"
        ) from error


def _longest(model: OnnxModel, evaluator: Evaluator, sizes: Sizes, max_batch: int) -> Lowered | None:
    """With the greatest length that the graph allows (a table of positions ends somewhere), by bisection."""
    low, high, found = 1, LONGEST, None
    for length in (64, 16, 4):
        try:
            found, low = _at_length(model, evaluator, sizes, max_batch, length), length
            break
        except ExportError:
            high = length
    while found is not None and high - low > 1:
        middle = (low + high) // 2
        try:
            found, low = _at_length(model, evaluator, sizes, max_batch, middle), middle
        except ExportError:
            high = middle
    return found


def _at_length(
    model: OnnxModel, evaluator: Evaluator, sizes: Sizes, max_batch: int, max_length: int | None
) -> Lowered:
    reason = "max_batch is 1" if max_batch == 1 and sizes.fixed is not None else None
    if reason is None:
        try:
            return _lowered(model, evaluator, with_batch(sizes, BATCH), None, max_length, sizes.fixed)
        except ExportError as error:
            lines = str(error).splitlines()
            reason = lines[min(1, len(lines) - 1)].strip()  # the first node of a report
    return _lowered(model, evaluator, with_batch(sizes, sizes.fixed or 1), reason, max_length)


def _lowered(
    model: OnnxModel,
    evaluator: Evaluator,
    inputs: tuple[InputSizes, ...],
    reason: str | None,
    max_length: int | None,
    written: int | None = None,
) -> Lowered:
    """written: the batch that the file is fixed to, although it is to be free."""

    def walked(batch: int, length: int) -> Walked:
        return walk(model, evaluator, [item.walk_input(batch, length) for item in inputs], written)

    longest = max_length or 1
    first = walked(PROBES[0], longest)
    free = inputs[0].sizes[inputs[0].batch] == BATCH
    if free:
        _check_batch(first.draft, walked(PROBES[1], longest).draft)
    if max_length is not None:
        other = max(1, max_length * 2 // 3)
        shorter = walked(PROBES[0], other).draft
        first.draft.nodes[:] = unify(
            (first.draft.nodes, first.draft), (shorter.nodes, shorter), (max_length, other)
        )
    return Lowered(walked=first, inputs=inputs, free_batch=free, max_length=max_length, reason=reason)


def _check_batch(draft: Draft, other: Draft) -> None:
    """ExportError where a node changes with the batch, which is written into the graph then."""
    for a, b in zip_longest(draft.nodes, other.nodes):
        node = a or b
        assert node is not None
        if a is None or b is None or not _same(a, b):
            raise ExportError(
                f"node {node.name!r} ({node.op}): expected the same at every batch, got something else at another batch; export the "
                f"model with that dimension free, or keep it fixed"
            )


def _same(a: DraftNode, b: DraftNode) -> bool:
    if (a.op, a.inputs, a.outputs, a.attributes) != (b.op, b.inputs, b.outputs, b.attributes):
        return False
    pairs = [(a.weights[role].values, b.weights[role].values) for role in a.weights]
    return all(np.array_equal(one, two, equal_nan=True) for one, two in pairs)


def _network(
    name: str,
    lowered: Lowered,
    nodes: Sequence[DraftNode],
    weights: PackedWeights,
    max_batch: int,
    states: Mapping[str, str],
) -> Network:
    dims = {BATCH: FreeDim(min=1, max=max_batch)} if lowered.free_batch else {}
    if lowered.max_length is not None:
        dims[LENGTH] = FreeDim(min=1, max=lowered.max_length)
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
        nodes=weights.network_nodes(nodes),
        states=tuple(State(input=key, output=value) for key, value in states.items()),
    )


def _sizes_text(lowered: Lowered, max_batch: int) -> str:
    fixed = lowered.inputs[0].sizes[lowered.inputs[0].batch]
    batch = f"batch 1 to {max_batch}" if lowered.free_batch else f"batch {fixed}"
    return batch if lowered.max_length is None else f"{batch}, length 1 to {lowered.max_length}"


def _notes(lowered: Lowered, checked: Verification, max_batch: int) -> list[str]:
    notes = ["zeros of the weights count as absent"]
    verified = max(int(label.split("x")[0]) for label in checked.errors)
    if lowered.free_batch and verified < max_batch:
        notes.append(f"verified up to batch {verified}")
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
