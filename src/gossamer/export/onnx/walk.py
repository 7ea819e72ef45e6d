"""One walk over the graph at concrete sizes: constants and sizes are computed, everything else is lowered.

Unsupported nodes are noted, what depends on them is passed over, and one error lists all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gossamer.errors import ExportError
from gossamer.export.draft import Draft, Unsupported
from gossamer.export.onnx.evaluate import Evaluator
from gossamer.export.onnx.lower import LOWERINGS
from gossamer.export.onnx.reader import OnnxModel, OnnxNode, nodes_of
from gossamer.export.onnx.scope import Call, Scope
from gossamer.export.onnx.values import Const, Entry, Ref

_NEAREST = "a form made of the operators in docs/how-to/pack-an-onnx-file.md"
_KEEP_NAMES = frozenset(
    {
        "Identity",
        "Cast",
        "Transpose",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "DequantizeLinear",
        "Dropout",
    }
)
_QUANTIZED = frozenset(
    {
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"),
        *("ConvInteger", "MatMulInteger"),
    }
)
_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
_HINTS = {
    **dict.fromkeys(
        _QUANTIZED, "the float32 file from before quantization: packing compresses the weights itself"
    ),
    **dict.fromkeys(_RANDOM, "values from the input"),
    "Loop": "a loop written out, or an LSTM or GRU node",
    "Scan": "a loop written out, or an LSTM or GRU node",
    "RNN": "LSTM or GRU",
    "If": "one branch: export for inference, with constant shapes",
    "NonMaxSuppression": "the network without its post-processing",
    "TopK": "ArgMax, or TopK outside of the network",
    "NonZero": "a mask and Where",
    "Einsum": "the same, written as MatMul and Transpose",
}


class _Unknown:
    """What an unsupported node would have given."""


UNKNOWN = _Unknown()


@dataclass(frozen=True, kw_only=True)
class WalkInput:
    """An input at concrete sizes, as ONNX sees it; batch: the place of the batch."""

    name: str
    shape: tuple[int, ...]
    batch: int
    dtype: np.dtype[np.generic]


@dataclass(frozen=True, kw_only=True)
class Walked:
    """A draft at concrete sizes. batches: place of the batch in each output; vocabularies: number of legal values
    of an integer input."""

    draft: Draft
    batches: Mapping[str, int]
    vocabularies: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class _Issue:
    node: OnnxNode
    error: Unsupported


@dataclass(kw_only=True)
class _Walk:
    model: OnnxModel
    evaluator: Evaluator
    scope: Scope
    env: dict[str, Entry | _Unknown] = field(default_factory=dict)
    issues: list[_Issue] = field(default_factory=list)


def walk(
    model: OnnxModel, evaluator: Evaluator, inputs: Sequence[WalkInput], written: int | None = None
) -> Walked:
    """Lower the whole graph with inputs of these sizes; ExportError lists what cannot be lowered.

    written: the batch that the file writes into its reshapes, although another one is walked.
    """
    first = inputs[0]
    state = _Walk(model=model, evaluator=evaluator, scope=Scope(first.shape[first.batch], written))
    for name, array in model.constants.items():
        state.env[name] = Const(array=array, name=name)
    for item in inputs:
        state.env[item.name] = _input(state.scope, item)
    for node in needed(model):
        _visit(state, node)
    batches = _outputs(state)
    if state.issues:
        raise ExportError(_report(model, state.issues))
    return Walked(draft=state.scope.draft, batches=batches, vocabularies=state.scope.vocabularies)


def needed(model: OnnxModel) -> list[OnnxNode]:
    """Nodes that an output needs."""
    wanted = {item.name for item in model.outputs}
    kept = []
    for node in reversed(model.nodes):
        if wanted & set(node.outputs):
            wanted.update(node.inputs)
            for branch in _branches(node):
                wanted.update(name for inner in branch for name in inner.inputs)
                wanted.update(str(item.name) for item in node.get("then_branch").output)
                wanted.update(str(item.name) for item in node.get("else_branch").output)
            kept.append(node)
    return kept[::-1]


def _branches(node: OnnxNode) -> list[tuple[OnnxNode, ...]]:
    return [nodes_of(node.get(side)) for side in ("then_branch", "else_branch")] if node.op == "If" else []


def _input(scope: Scope, item: WalkInput) -> Ref:
    rest = [size for place, size in enumerate(item.shape) if place != item.batch]
    scope.draft.add_input(item.name, (item.shape[item.batch], *rest))
    scope.anchor = scope.anchor or item.name
    if item.dtype.kind in "iub":
        scope.whole.add(item.name)
    if item.dtype.kind == "b":
        scope.truths.add(item.name)
    order = (*range(1, item.batch + 1), 0, *range(item.batch + 1, len(item.shape)))
    return Ref(value=item.name, dims=item.shape, order=order, group=(item.batch, item.batch + 1))


def _visit(state: _Walk, node: OnnxNode) -> None:
    try:
        found = [state.env[name] if name else None for name in node.inputs]
        known = [entry for entry in found if not isinstance(entry, _Unknown)]
        results: Sequence[Entry | _Unknown | None]
        if len(known) < len(found):
            if node.domain or not (node.op in LOWERINGS or node.op in ("Shape", "Size")):
                raise Unsupported(node.op, _nearest(node))
            results = [UNKNOWN] * len(node.outputs)
        elif node.op == "If":
            results = _if(state, node, known[0])
        elif not any(isinstance(entry, Ref) for entry in known):
            results = _constant(state, node, known)
        else:
            results = _lowered(state, node, known)
    except Unsupported as error:
        state.issues.append(_Issue(node=node, error=error))
        results = [UNKNOWN] * len(node.outputs)
    for name, result in zip(node.outputs, results, strict=False):
        if name:
            state.env[name] = UNKNOWN if result is None else result


def _constant(state: _Walk, node: OnnxNode, inputs: Sequence[Entry | None]) -> list[Entry | None]:
    if node.op in _RANDOM:
        raise Unsupported(node.op, _nearest(node))
    arrays = [entry.array if isinstance(entry, Const) else None for entry in inputs]
    results = iter(state.evaluator(node, arrays))
    first = inputs[0] if inputs else None
    name = first.name if isinstance(first, Const) and node.op in _KEEP_NAMES else None
    return [Const(array=next(results), name=name) if output else None for output in node.outputs]


def _if(state: _Walk, node: OnnxNode, condition: Entry | None) -> list[Entry | _Unknown | None]:
    """A constant condition chooses a branch, whose nodes are visited as if they stood here."""
    if not isinstance(condition, Const):
        raise Unsupported("If whose condition depends on the input", _HINTS["If"])
    graph = node.get("then_branch" if bool(condition.array.reshape(-1)[0]) else "else_branch")
    import onnx

    for item in graph.initializer:
        state.env[item.name] = Const(array=np.asarray(onnx.numpy_helper.to_array(item)), name=item.name)
    for inner in nodes_of(graph):
        _visit(state, inner)
    return [state.env[item.name] for item in graph.output]


def _lowered(state: _Walk, node: OnnxNode, inputs: Sequence[Entry | None]) -> Sequence[Entry | None]:
    first = inputs[0]
    if node.op in ("Shape", "Size") and isinstance(first, Ref):
        shape = np.array(first.shape, np.int64)[slice(node.get("start", 0), node.get("end"))]
        return [Const(array=shape if node.op == "Shape" else np.array(int(np.prod(first.shape)), np.int64))]
    if node.domain or node.op not in LOWERINGS:
        raise Unsupported(node.op, _nearest(node))
    state.scope.draft.current = node.name
    call = Call(node=node, inputs=tuple(inputs), opset=state.model.opset, scope=state.scope)
    result = LOWERINGS[node.op](call)
    return result if isinstance(result, tuple) else [result]


def _outputs(state: _Walk) -> dict[str, int]:
    batches = {}
    for output in state.model.outputs:
        found = state.env.get(output.name, UNKNOWN)
        if isinstance(found, _Unknown):
            continue
        if isinstance(found, Const):
            raise ExportError(
                f"output {output.name!r}: expected a value that depends on the input, got a constant; leave it out of the file"
            )
        if found.group[1] - found.group[0] > 1:
            raise ExportError(
                f"output {output.name!r}: expected the batch as a dimension of its own, got the shape {list(found.shape)} for a "
                f"batch of {state.scope.batch}; reshape it to [batch, ...] at the end of the model"
            )
        settled = state.scope.settled(found)
        state.scope.draft.outputs.append((output.name, settled.value))
        batches[output.name] = settled.batch
    return batches


def _nearest(node: OnnxNode) -> str:
    if node.domain:
        return f"operators of ONNX itself, not of the domain {node.domain}: export without the optimizer that wrote it"
    if node.op in _HINTS:
        return _HINTS[node.op]
    close = difflib.get_close_matches(node.op, LOWERINGS, n=1, cutoff=0.85)
    return f"{close[0]}, or {_NEAREST}" if close else _NEAREST


def _report(model: OnnxModel, issues: Sequence[_Issue]) -> str:
    count = "a node" if len(issues) == 1 else f"{len(issues)} nodes"
    lines = [
        f"{model.path}: {count} that the runtime lacks (opset {model.opset}, {model.producer or 'unknown producer'}):"
    ]
    for issue in issues:
        node, error = issue.node, issue.error
        what = f"{node.domain}.{node.op}" if node.domain else node.op
        title = what if error.reason == node.op else f"{what}: {error.reason}"
        lines.append(
            f"  {title}\n    at node {node.name!r} -> {', '.join(node.outputs)}\n    nearest supported form: {error.nearest}"
        )
    return "\n".join(lines)
