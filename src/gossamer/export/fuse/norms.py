"""Layer norm and RMS norm written out as means, squares and roots."""

from __future__ import annotations

from dataclasses import replace

from gossamer.export.draft import DraftNode
from gossamer.export.fuse.graph import Graph, Rule
from gossamer.export.weight import Weight


def normalized(node: DraftNode, graph: Graph) -> DraftNode | None:
    """v / sqrt(mean(v^2) + epsilon): layer norm where v = x - mean(x), else RMS norm."""
    if node.op == "div":
        root, v = graph.maker(node.inputs[1], "sqrt"), node.inputs[0]
        return None if root is None else _norm(node, v, root.inputs[0], graph)
    if node.op != "mul":
        return None
    for v, factor in (node.inputs, node.inputs[::-1]):
        inverse = graph.maker(factor, "power", "rsqrt")
        if inverse is None:
            continue
        squares = inverse.inputs[0]
        if inverse.op == "power" and inverse.attributes["exponent"] == -1.0:
            root = graph.maker(squares, "sqrt")
            if root is None:
                continue
            squares = root.inputs[0]
        elif inverse.op == "power" and inverse.attributes["exponent"] != -0.5:
            continue
        made = _norm(node, v, squares, graph)
        if made is not None:
            return made
    return None


def _norm(node: DraftNode, v: str, variance: str, graph: Graph) -> DraftNode | None:
    mean, scale, epsilon = graph.scaled(variance)
    average = graph.maker(mean, "mean")
    if average is None or scale != 1.0 or epsilon <= 0.0:
        return None
    count = _last(average, graph)
    if count is None or not _is_square(average.inputs[0], v, graph):
        return None
    centred = graph.maker(v, "sub")
    if centred is not None:
        own = graph.maker(centred.inputs[1], "mean")
        if own is not None and own.inputs[0] == centred.inputs[0] and _last(own, graph) == count:
            attributes = {"axes": count, "epsilon": epsilon}
            return replace(node, op="layer_norm", inputs=(centred.inputs[0],), attributes=attributes)
    return replace(node, op="rms_norm", inputs=(v,), attributes={"axes": count, "epsilon": epsilon})


def _last(mean: DraftNode, graph: Graph) -> int | None:
    """How many last dimensions a mean is taken over; None where it is not over the last ones."""
    axes, rank = mean.attributes["axes"], len(graph.shapes[mean.inputs[0]])
    assert isinstance(axes, list)
    return len(axes) if mean.attributes["keep"] and axes == list(range(rank - len(axes), rank)) else None


def _is_square(value: str, v: str, graph: Graph) -> bool:
    node = graph.maker(value, "power", "mul")
    if node is None:
        return False
    return (
        node.inputs == (v, v)
        if node.op == "mul"
        else node.inputs == (v,) and node.attributes["exponent"] == 2.0
    )


def weighted(node: DraftNode, graph: Graph) -> DraftNode | None:
    """A norm over the last dimension, then a vector that scales or shifts it."""
    if node.op not in ("mul", "add"):
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        norm = graph.maker(value, "layer_norm", "rms_norm")
        if norm is None or graph.uses[value] > 1 or norm.attributes["axes"] != 1:
            continue
        role = "weight" if node.op == "mul" else "bias"
        if role in norm.weights or (node.op == "mul" and "bias" in norm.weights):
            continue
        if node.op == "add" and norm.op == "rms_norm":
            continue
        vector = graph.last_vector(other, graph.shapes[value][-1])
        if vector is not None:
            weights = {**norm.weights, role: Weight(name=f"{node.name}.{role}", values=vector)}
            return replace(norm, name=node.name, outputs=node.outputs, weights=weights)
    return None


RULES: tuple[Rule, ...] = (normalized, weighted)
