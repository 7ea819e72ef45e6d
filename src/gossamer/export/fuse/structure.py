"""Reshapes, permutations and affine maps in a row; zeros in front of a convolution; biases; transposed operands."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from gossamer.export.draft import DraftNode, plain
from gossamer.export.fuse.graph import Graph, Rule
from gossamer.export.weight import Weight, sibling


def reshapes(node: DraftNode, graph: Graph) -> DraftNode | None:
    """The last of several reshapes is enough; one that joins the last dimensions is `flatten`."""
    if node.op != "reshape":
        return None
    before = graph.maker(node.inputs[0], "reshape", "flatten")
    if before is not None:
        return replace(node, inputs=before.inputs)
    old, new = graph.shapes[node.inputs[0]], graph.shapes[node.output]
    sizes = node.attributes["shape"]
    assert isinstance(sizes, list)
    if old == new:
        graph.same(node.output, node.inputs[0])
        return None
    start = len(new) - 1
    joins = start >= 1 and len(old) > len(new) and old[:start] == new[:start]
    if joins and all(isinstance(size, int) for size in old):
        tail = plain(old[start:])
        if prod(tail) == new[start] and sizes[-1] == new[start]:
            return replace(node, op="flatten", attributes={"start": start})
    return None


def permutations(node: DraftNode, graph: Graph) -> DraftNode | None:
    """Two permutations are one, or none."""
    before = graph.maker(node.inputs[0], "permute") if node.op == "permute" else None
    if before is None:
        return None
    first, second = before.attributes["order"], node.attributes["order"]
    assert isinstance(first, list)
    assert isinstance(second, list)
    order = [first[int(str(place)) - 1] for place in second]
    if order == list(range(1, len(order) + 1)):
        graph.same(node.output, before.inputs[0])
        return None
    return replace(node, inputs=before.inputs, attributes={"order": order})


def affines(node: DraftNode, graph: Graph) -> DraftNode | None:
    """b (a x + s) + t is one affine map, or none."""
    if node.op != "affine":
        return None
    outer = graph.scaled_node(node)
    if outer == (1.0, 0.0):
        graph.same(node.output, node.inputs[0])
        return None
    inner = graph.maker(node.inputs[0], "affine")
    if inner is None:
        return None
    scale, shift = graph.scaled_node(inner)
    merged = {"scale": outer[0] * scale, "shift": outer[0] * shift + outer[1]}
    if abs(merged["scale"] - 1.0) < 1e-6 and merged["shift"] == 0.0:
        graph.same(node.output, inner.inputs[0])
        return None
    return replace(node, inputs=inner.inputs, attributes={**merged})


def padded_convolutions(node: DraftNode, graph: Graph) -> DraftNode | None:
    """Zeros around height and width become the convolution's padding."""
    before = graph.maker(node.inputs[0], "pad") if node.op == "conv2d" else None
    if before is None or before.attributes["mode"] != "constant" or before.attributes["value"] != 0.0:
        return None
    low, high, own = before.attributes["before"], before.attributes["after"], node.attributes["padding"]
    assert isinstance(low, list)
    assert isinstance(high, list)
    assert isinstance(own, list)
    if low[0] or high[0]:
        return None
    amounts = [int(str(a)) + int(str(b)) for a, b in zip(own, [*low[1:], *high[1:]], strict=True)]
    return replace(node, inputs=before.inputs, attributes={**node.attributes, "padding": [*amounts]})


def biases(node: DraftNode, graph: Graph) -> DraftNode | None:
    """linear, then a vector along the last dimension."""
    if node.op not in ("add", "channel_affine"):
        return None
    for place, value in enumerate(node.inputs):
        layer = graph.maker(value, "linear")
        if layer is None or graph.uses[value] > 1:
            continue
        rows = layer.weights["weight"].shape[0]
        if node.op == "add":
            vector = graph.last_vector(node.inputs[1 - place], rows)
        else:
            whole = len(graph.shapes[value]) == 2 and bool((node.weights["scale"].values == 1.0).all())
            vector = node.weights["shift"].values if whole else None
        if vector is None:
            continue
        old = layer.weights.get("bias")
        total = vector if old is None else vector + old.values
        name = sibling(layer.weights["weight"].name, "bias")
        weights = {**layer.weights, "bias": Weight(name=name, values=np.asarray(total, np.float64))}
        return replace(layer, name=node.name, outputs=node.outputs, weights=weights)
    return None


def transposed_operands(node: DraftNode, graph: Graph) -> DraftNode | None:
    """matmul with the last two dimensions of its second operand exchanged."""
    if node.op != "matmul" or node.attributes["transpose_b"]:
        return None
    before = graph.maker(node.inputs[1], "permute")
    rank = len(graph.shapes[node.inputs[1]])
    if before is None or before.attributes["order"] != [*range(1, rank - 2), rank - 1, rank - 2]:
        return None
    return replace(node, inputs=(node.inputs[0], before.inputs[0]), attributes={"transpose_b": True})


RULES: tuple[Rule, ...] = (reshapes, permutations, affines, padded_convolutions, biases, transposed_operands)
