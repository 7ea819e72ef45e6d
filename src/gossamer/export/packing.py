"""pack: torch model -> captured graph -> folded, lowered, compact -> one verified file.

Nothing is written unless the packed network was run and agrees with the masked model.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from gossamer._version import __version__
from gossamer.errors import ExportError, GraphError
from gossamer.export.agreement import TOLERANCES
from gossamer.export.arguments import (
    HasMasks,
    check_image_size,
    check_labels,
    check_manifest,
    checked_preprocessing,
    checked_target,
    masks_of,
    pattern_of,
)
from gossamer.export.capture import BATCH, Captured, capture
from gossamer.export.draft import Draft, DraftNode, Shape
from gossamer.export.fold import fold
from gossamer.export.lower import lower
from gossamer.export.masks import resolve_masks
from gossamer.export.report import PackReport
from gossamer.export.subject import Example, subject_of
from gossamer.export.verify import verify
from gossamer.export.weights import PackedWeights, pack_weights
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, ImagePreprocessing, Input, Manifest, Network, Node, Output
from gossamer.graph.strict_json import Json

T = TypeVar("T")


def pack(
    model: nn.Module,
    example: Example,
    path: str | Path,
    *,
    masks: Mapping[str, Tensor] | HasMasks | None = None,
    pattern: object = None,
    dtype: str = "float16",
    max_batch: int = 64,
    labels: Sequence[str] | None = None,
    preprocessing: ImagePreprocessing | Mapping[str, Json] | None = None,
    recipe: Mapping[str, Json] | None = None,
    metrics: Mapping[str, Json] | None = None,
    license: str | None = None,
    name: str | None = None,
    tolerance: float | None = None,
) -> PackReport:
    """Pack `model` into the file `path` and return what was done.

    example: one input [N, ...] or several (sequence, or mapping by argument name). masks: bool tensors by
    parameter name, True = kept, or a Sparsifier; they decide, whatever the weights hold. None: zeros of the
    weights count as absent. pattern: the pattern of the masks, e.g. "gs:8,1"; a mask that breaks it is
    stored unstructured. dtype: of the matrices' values, float16 or float32. max_batch: largest batch the
    file is made for. tolerance: largest relative error against torch, 5e-3 for float16 and 1e-4 for float32
    by default. The model is left as it was.
    """
    target = checked_target(path, dtype=dtype, max_batch=max_batch, tolerance=tolerance)
    check_manifest(
        {"recipe": recipe, "metrics": metrics},
        texts={"name": name, "license": license},
        labels=labels,
    )
    block = checked_preprocessing(preprocessing)
    subject = subject_of(model, example)
    check_image_size(block, subject)
    given = masks if masks is None or isinstance(masks, Mapping) else masks_of(masks)
    resolved, notes = resolve_masks(subject.model, given)
    pattern_text = pattern_of(pattern, masks)
    captured = capture(subject, max_batch=max_batch)
    draft = lower(captured, resolved)
    nodes = fold(draft)
    weights = pack_weights(nodes, pattern=pattern_text, dtype=dtype, zeros_are_absent=given is None)
    check_labels(labels, draft)
    network = _network(name or type(subject.model).__name__, captured, draft, nodes, weights, max_batch)
    manifest = Manifest(
        network=network,
        library=f"gossamer {__version__}",
        preprocessing=None if block is None else block.to_json(),
        labels=None if labels is None else tuple(labels),
        recipe=recipe,
        metrics=metrics,
        license=license,
        versions={"gossamer": __version__, "torch": torch.__version__, "python": platform.python_version()},
    )
    limit = TOLERANCES[dtype] if tolerance is None else tolerance
    candidate = _legal(lambda: packed_file.to_bytes(manifest, weights.weights))
    checked = verify(
        candidate, captured, subject, resolved, max_batch=max_batch, tolerance=limit, dtype=dtype
    )
    manifest = replace(manifest, verification=checked.to_json())
    size = _legal(lambda: packed_file.write(target, manifest, weights.weights))
    largest = str(captured.batch if not captured.symbols else max_batch)
    if largest not in checked.errors:
        verified = max(int(batch) for batch in checked.errors)
        notes.append(
            f"verified up to batch {verified}; batch {largest} would take too long or too much memory"
        )
    if captured.fixed_because is not None:
        notes.append(f"the batch is fixed at {captured.batch}: {captured.fixed_because}")
    return PackReport(
        path=target,
        bytes=size,
        bytes_dense=sum(4 * row.num_weights for row in weights.reports if row.of_model),
        batch=f"batch {captured.batch}" if not captured.symbols else f"batch 1 to {max_batch}",
        nodes=len(nodes),
        weights=weights.reports,
        verification=checked,
        notes=tuple(notes),
    )


def _network(
    name: str,
    captured: Captured,
    draft: Draft,
    nodes: list[DraftNode],
    weights: PackedWeights,
    max_batch: int,
) -> Network:
    if not nodes:
        raise ExportError("the model does nothing at inference: expected at least one operation, got none")
    used = {value for node in nodes for value in node.inputs} | {value for _, value in draft.outputs}
    free = bool(captured.symbols)
    shapes: dict[str, Shape] = {
        key: (BATCH, *shape[1:]) if free else shape for key, shape in captured.input_shapes.items()
    }
    for key in shapes:
        if key not in used:
            raise ExportError(
                f"input {key!r}: expected an input that the outputs depend on; leave it out of the example"
            )
    return Network(
        name=name,
        dims={BATCH: FreeDim(min=1, max=max_batch)} if free else {},
        inputs=tuple(Input(name=key, shape=shape) for key, shape in shapes.items()),
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


def _legal(write: Callable[[], T]) -> T:
    """A rule of the graph that the lowered network breaks is a failure of the export."""
    try:
        return write()
    except GraphError as error:
        raise ExportError(f"the lowered network breaks a rule of the packed file: {error}") from error
