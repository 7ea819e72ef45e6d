"""Passes over the draft: nodes that nothing needs vanish, channel-wise affine maps fold into the layer
before them.

A layer y = W x + b with one consumer z = s y + t becomes z = (s W) x + (s b + t), computed in float64.
Folding scales whole rows of W, so a mask stays what it was. An affine map in front of a layer
(pre-activation networks) stays a node: zero padding lies between them.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from gossamer.export.draft import Array, Draft, DraftNode, Shape, Weight, sibling


def fold(draft: Draft) -> list[DraftNode]:
    """The nodes after all passes, in an order that can be executed."""
    outputs = [value for _, value in draft.outputs]
    nodes = _needed(draft.nodes, outputs)
    while True:
        folded = _fold_once(nodes, outputs, draft.shapes)
        if folded is None:
            return nodes
        nodes = folded


def _needed(nodes: list[DraftNode], outputs: Iterable[str]) -> list[DraftNode]:
    """Nodes that an output needs."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _fold_once(
    nodes: list[DraftNode], outputs: list[str], shapes: dict[str, Shape]
) -> list[DraftNode] | None:
    """Fold the first affine map that can be folded; None where there is none."""
    uses = Counter(value for node in nodes for value in node.inputs) + Counter(outputs)
    makers = {node.output: place for place, node in enumerate(nodes)}
    for place, node in enumerate(nodes):
        if node.op != "channel_affine" or uses[node.inputs[0]] != 1 or node.inputs[0] not in makers:
            continue
        before = makers[node.inputs[0]]
        layer = nodes[before]
        rows = layer.op == "conv2d" or (layer.op == "linear" and len(shapes[layer.output]) == 2)
        if rows or layer.op == "channel_affine":
            merged = _into_rows(layer, node) if rows else _into_affine(layer, node)
            rest = [other for index, other in enumerate(nodes) if index not in (before, place)]
            return [*rest[:before], merged, *rest[before:]]
    return None


def _into_rows(layer: DraftNode, affine: DraftNode) -> DraftNode:
    scale, shift = _scale_shift(affine)
    weight = layer.weights["weight"]
    bias = layer.weights.get("bias")
    first = np.zeros(len(shift)) if bias is None else bias.values.astype(np.float64)
    weights = {
        "weight": replace(weight, values=weight.values.astype(np.float64) * scale[:, None]),
        "bias": Weight(name=sibling(weight.name, "bias"), values=first * scale + shift),
    }
    return replace(layer, output=affine.output, weights=weights)


def _into_affine(first: DraftNode, second: DraftNode) -> DraftNode:
    (scale, shift), (factor, offset) = _scale_shift(first), _scale_shift(second)
    weights = {
        "scale": replace(first.weights["scale"], values=scale * factor),
        "shift": replace(first.weights["shift"], values=shift * factor + offset),
    }
    return replace(first, output=second.output, weights=weights)


def _scale_shift(affine: DraftNode) -> tuple[Array, Array]:
    return (
        affine.weights["scale"].values.astype(np.float64),
        affine.weights["shift"].values.astype(np.float64),
    )
