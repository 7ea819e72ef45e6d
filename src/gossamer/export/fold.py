"""Passes over the draft: nodes that nothing needs vanish, affine maps fold into the layer before them.

A layer y = W x + b with one consumer z = s y + t becomes z = (s W) x + (s b + t), computed in float64.
Folding scales whole rows of W, so a mask stays what it was. An affine map in front of a layer
(pre-activation networks) stays a node: zero padding lies between them.

Three maps fold: `channel_affine` (one s and t a channel, dimension 1), `affine` (numbers), and `feature_affine` (one a feature, the last
dimension), which exists in drafts alone: what is left of it becomes a product and a sum with constants.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from gossamer.export.draft import Draft, DraftNode, listed
from gossamer.export.layout import Shape
from gossamer.export.weight import Array, Weight, sibling
from gossamer.graph.strict_json import Json

_MAPS = ("channel_affine", "feature_affine", "affine")


def fold(draft: Draft) -> list[DraftNode]:
    """The nodes after all passes, in an order that can be executed."""
    outputs = [value for _, value in draft.outputs]
    nodes = needed(draft.nodes, outputs)
    while True:
        folded = _fold_once(nodes, outputs, draft.shapes)
        if folded is None:
            break
        nodes = folded
    return needed(_written_out(nodes, draft), outputs)


def needed(nodes: list[DraftNode], outputs: Iterable[str]) -> list[DraftNode]:
    """Nodes that an output needs."""
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _fold_once(
    nodes: list[DraftNode], outputs: list[str], shapes: dict[str, Shape]
) -> list[DraftNode] | None:
    """Fold every affine map that can be folded at the moment; None where there is none."""
    uses = Counter(value for node in nodes for value in node.inputs) + Counter(outputs)
    makers = {node.output: node for node in nodes}
    merged: dict[str, DraftNode] = {}
    gone: set[str] = set()
    for node in nodes:
        if node.op not in _MAPS or uses[node.inputs[0]] != 1:
            continue
        layer = makers.get(node.inputs[0])
        if layer is None or layer.name in merged or layer.name in gone:
            continue
        made = _merged(layer, node, shapes[layer.output])
        if made is not None:
            merged[layer.name] = made
            gone.add(node.name)
    if not merged:
        return None
    return [merged.get(node.name, node) for node in nodes if node.name not in gone]


def _merged(layer: DraftNode, node: DraftNode, shape: Shape) -> DraftNode | None:
    """The layer with the map in it; None where it cannot take it."""
    rows = (layer.op == "conv2d" and node.op != "feature_affine") or (
        layer.op == "linear" and (node.op != "channel_affine" or len(shape) == 2)
    )
    if rows:
        return _into_rows(layer, node)
    if layer.op == "layer_norm" and node.op == "feature_affine" and layer.attributes["axes"] == 1:
        return _into_norm(layer, node)
    if layer.op == "affine" and node.op == "affine":
        (scale, shift), (factor, offset) = _numbers(layer), _numbers(node)
        numbers: dict[str, Json] = {"scale": scale * factor, "shift": shift * factor + offset}
        return replace(layer, outputs=node.outputs, attributes=numbers)
    if layer.op in ("channel_affine", "feature_affine") and node.op in (layer.op, "affine"):
        return _into_map(layer, node)
    return None


def _into_rows(layer: DraftNode, node: DraftNode) -> DraftNode:
    weight = layer.weights["weight"]
    scale, shift = _scale_shift(node, weight.shape[0])
    bias = layer.weights.get("bias")
    first = np.zeros(len(shift)) if bias is None else bias.values.astype(np.float64)
    weights = {
        "weight": weight.scaled(scale),
        "bias": Weight(name=sibling(weight.name, "bias"), values=first * scale + shift),
    }
    if bias is None and not shift.any():
        del weights["bias"]
    return replace(layer, outputs=node.outputs, weights=weights)


def _into_norm(layer: DraftNode, node: DraftNode) -> DraftNode:
    scale, shift = _scale_shift(node, 0)
    weight, bias = layer.weights.get("weight"), layer.weights.get("bias")
    name = f"{layer.name}.weight" if weight is None else weight.name
    factor = scale if weight is None else weight.values.astype(np.float64) * scale
    offset = shift if bias is None else bias.values.astype(np.float64) * scale + shift
    weights = {
        "weight": Weight(name=name, values=factor),
        "bias": Weight(name=sibling(name, "bias"), values=offset),
    }
    return replace(layer, outputs=node.outputs, weights=weights)


def _into_map(first: DraftNode, second: DraftNode) -> DraftNode:
    scale, shift = _scale_shift(first, 0)
    factor, offset = _scale_shift(second, len(scale))
    weights = {
        "scale": replace(first.weights["scale"], values=scale * factor),
        "shift": replace(first.weights["shift"], values=shift * factor + offset),
    }
    return replace(first, outputs=second.outputs, weights=weights)


def _numbers(node: DraftNode) -> tuple[float, float]:
    scale, shift = node.attributes["scale"], node.attributes["shift"]
    assert isinstance(scale, int | float)
    assert isinstance(shift, int | float)
    return float(scale), float(shift)


def _scale_shift(node: DraftNode, count: int) -> tuple[Array, Array]:
    if node.op == "affine":
        scale, shift = _numbers(node)
        return np.full(count, scale), np.full(count, shift)
    return (
        node.weights["scale"].values.astype(np.float64),
        node.weights["shift"].values.astype(np.float64),
    )


def _written_out(nodes: list[DraftNode], draft: Draft) -> list[DraftNode]:
    """`feature_affine` as a product and a sum with constants."""
    found: list[DraftNode] = []
    for node in nodes:
        if node.op != "feature_affine":
            found.append(node)
            continue
        value, shape = node.inputs[0], draft.shapes[node.output]
        steps = [
            (op, role)
            for op, role, same in (("mul", "scale", 1.0), ("add", "shift", 0.0))
            if (node.weights[role].values != same).any()
        ] or [("mul", "scale")]
        for place, (op, role) in enumerate(steps):
            weight = node.weights[role]
            name = draft.fresh_name(weight.name)
            sizes: Shape = (*(1 for _ in shape[1:-1]), shape[-1])
            found.append(
                DraftNode(
                    op="constant",
                    name=name,
                    inputs=(draft.first_input,),
                    outputs=(name,),
                    attributes={"shape": listed(sizes)},
                    weights={"value": weight},
                )
            )
            draft.shapes[name] = (shape[0], *sizes)
            last = place == len(steps) - 1
            made = node.output if last else draft.fresh_name(f"{node.name}.{op}")
            draft.shapes[made] = shape
            found.append(
                DraftNode(op=op, name=node.name if last else made, inputs=(value, name), outputs=(made,))
            )
            value = made
    return found
