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
from gossamer.export.capture import Captured, capture, with_length
from gossamer.export.draft import Draft, DraftNode
from gossamer.export.fold import fold
from gossamer.export.layout import BATCH
from gossamer.export.length import LENGTH, Length, unify
from gossamer.export.lower import lower
from gossamer.export.masks import of_dense_layers, resolve_masks
from gossamer.export.report import PackReport
from gossamer.export.subject import Example, Subject, subject_of
from gossamer.export.verify import Plan, verify
from gossamer.export.weights import PackedWeights, pack_weights
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, ImagePreprocessing, Input, Manifest, Network, Output, State
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
    length: Length | str | None = None,
    states: Mapping[str, str] | None = None,
    batch_dims: Mapping[str, int] | None = None,
) -> PackReport:
    """Pack `model` into the file `path` and return what was done.

    example: one input [N, ...] or several (sequence, or mapping by argument name). masks: bool tensors by
    parameter name, True = kept, or a Sparsifier; they decide, whatever the weights hold. None: zeros of the
    weights count as absent. pattern: the pattern of the masks, e.g. "gs:8,1"; a mask that breaks it is
    stored unstructured. dtype: of the matrices' values, float16 or float32. max_batch: largest batch the
    file is made for. tolerance: largest relative error against torch, 5e-3 for float16 and 1e-4 for float32
    by default. The model is left as it was.

    Of a model with compact layers (`gossamer.compact_`) the file holds what they keep, in their own patterns, and a dense weight is never
    made; nothing is absent in its other layers, unless masks say so.

    length: a dimension whose size is chosen at every run, e.g. "ids:1,mask:1=1..512" (dimension 1 of the inputs `ids` and `mask`). states:
    input name -> name of the output whose value a session hands to it at the next run. batch_dims: dimension of the batch of inputs
    that do not have it first; in the file it comes first. States of three dimensions [layers, N, H] need not be named there.
    """
    target = checked_target(path, dtype=dtype, max_batch=max_batch, tolerance=tolerance)
    check_manifest(
        {"recipe": recipe, "metrics": metrics},
        texts={"name": name, "license": license},
        labels=labels,
    )
    pattern_text = pattern_of(pattern, masks)
    block = checked_preprocessing(preprocessing)
    subject = subject_of(model, example, states=states, batch_dims=batch_dims)
    chosen = Length.parse(length) if isinstance(length, str) else length
    if not isinstance(chosen, Length | None):
        raise ExportError(f"length: expected text such as ids:1=1..512, or a Length, got {length!r}")
    check_image_size(block, subject)
    given = (
        masks
        if masks is None or isinstance(masks, Mapping)
        else of_dense_layers(masks_of(masks), subject.model)
    )
    resolved, notes = resolve_masks(subject.model, given)
    captured, draft, nodes = _lowered(subject, resolved, max_batch, chosen)
    zeros_are_absent = given is None and not captured.compact
    weights = pack_weights(nodes, pattern=pattern_text, dtype=dtype, zeros_are_absent=zeros_are_absent)
    check_labels(labels, draft)
    label = name or type(subject.model).__name__
    network = _network(label, captured, draft, nodes, weights, max_batch, chosen, states or {})
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
    plan = Plan(max_batch=max_batch, length=chosen, out_batch_dims=draft.batch_dims)
    checked, remarks = verify(candidate, captured, subject, resolved, plan, tolerance=limit, dtype=dtype)
    notes += remarks
    manifest = replace(manifest, verification=checked.to_json())
    size = _legal(lambda: packed_file.write(target, manifest, weights.weights))
    if captured.fixed_because is not None:
        notes.append(f"the batch is fixed at {captured.batch}: {captured.fixed_because}")
    for moved, dim in (*captured.batch_dims.items(), *draft.batch_dims.items()):
        notes.append(f"{moved!r} has its batch at dimension {dim} in the model, in the file at dimension 0")
    return PackReport(
        path=target,
        bytes=size,
        bytes_dense=sum(4 * row.num_weights for row in weights.reports if row.of_model),
        batch=_range(captured, max_batch, chosen),
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
    length: Length | None,
    states: Mapping[str, str],
) -> Network:
    if not nodes:
        raise ExportError("the model does nothing at inference: expected at least one operation, got none")
    used = {value for node in nodes for value in node.inputs} | {value for _, value in draft.outputs}
    shapes = {key: _symbols(key, shape, captured, length) for key, shape in captured.input_shapes.items()}
    dims = {BATCH: FreeDim(min=1, max=max_batch)} if captured.symbols else {}
    if length is not None:
        dims[LENGTH] = FreeDim(min=length.min, max=length.max)
    for key, output in states.items():
        if output not in captured.output_names:
            raise ExportError(
                f"states: expected an output ({', '.join(captured.output_names)}) for {key!r}, got {output!r}"
            )
    for key in shapes:
        if key not in used:
            raise ExportError(
                f"input {key!r}: expected an input that the outputs depend on; leave it out of the example"
            )
    return Network(
        name=name,
        dims=dims,
        inputs=tuple(
            Input(name=key, shape=shape, dtype=captured.input_types[key]) for key, shape in shapes.items()
        ),
        outputs=tuple(Output(name=key, value=value) for key, value in draft.outputs),
        nodes=weights.network_nodes(nodes),
        states=tuple(State(input=key, output=output) for key, output in states.items()),
    )


def _lowered(
    subject: Subject, masks: Mapping[str, Tensor], max_batch: int, length: Length | None
) -> tuple[Captured, Draft, list[DraftNode]]:
    """The captured program, its draft and the folded nodes; with a free length, what two lengths have in common."""
    if length is None:
        captured = capture(subject, max_batch=max_batch)
        draft = lower(captured, masks)
        return captured, draft, fold(draft)
    length.check({n: t.dim() for n, t in zip(subject.names, subject.inputs, strict=True)}, subject.batch_dims)
    lengths = (length.max, length.max - 1)
    captures = [capture(with_length(subject, length.dims, size), max_batch=max_batch) for size in lengths]
    drafts = [lower(captured, masks, size) for captured, size in zip(captures, lengths, strict=True)]
    folded = [fold(draft) for draft in drafts]
    nodes = unify((folded[0], drafts[0]), (folded[1], drafts[1]), lengths)
    return captures[0], drafts[0], nodes


def _symbols(
    key: str, shape: tuple[int, ...], captured: Captured, length: Length | None
) -> tuple[int | str, ...]:
    """An input's shape in the file: batch first, symbols for what is free."""
    sizes: list[int | str] = list(shape)
    if length is not None and key in length.dims:
        sizes[length.dims[key]] = LENGTH
    batch = captured.batch_dims.get(key, 0)
    del sizes[batch]
    return (BATCH if captured.symbols else captured.batch, *sizes)


def _range(captured: Captured, max_batch: int, length: Length | None) -> str:
    batch = f"batch 1 to {max_batch}" if captured.symbols else f"batch {captured.batch}"
    return batch if length is None else f"{batch}, length {length.min} to {length.max}"


def _legal(write: Callable[[], T]) -> T:
    """A rule of the graph that the lowered network breaks is a failure of the export."""
    try:
        return write()
    except GraphError as error:
        raise ExportError(f"the lowered network breaks a rule of the packed file: {error}") from error
