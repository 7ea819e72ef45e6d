"""silu, hardswish, mish, GELU."""

from __future__ import annotations

from dataclasses import replace
from math import pi, sqrt

from gossamer.export.draft import DraftNode
from gossamer.export.fuse.graph import Graph, Rule, near


def gates(node: DraftNode, graph: Graph) -> DraftNode | None:
    """x f(x)."""
    if node.op != "mul":
        return None
    for x, gate in (node.inputs, node.inputs[::-1]):
        maker = graph.maker(gate, "sigmoid", "hardsigmoid", "tanh")
        if maker is None:
            continue
        if maker.op != "tanh" and maker.inputs[0] == x:
            op = "silu" if maker.op == "sigmoid" else "hardswish"
            return replace(node, op=op, inputs=(x,), attributes={})
        inner = graph.maker(maker.inputs[0], "softplus") if maker.op == "tanh" else None
        if inner is not None and inner.inputs[0] == x and inner.attributes["beta"] == 1.0:
            return replace(node, op="mish", inputs=(x,), attributes={})
    return None


def hard(node: DraftNode, graph: Graph) -> DraftNode | None:
    """relu6(x + 3) / 6, and x relu6(x + 3) / 6."""
    if node.op not in ("affine", "channel_affine"):
        return None
    scale, shift = graph.scaled_node(node)
    if not near(scale, 1 / 6) or shift != 0.0:
        return None
    value = node.inputs[0]
    x = _shifted_relu6(value, graph)
    if x is not None:
        return replace(node, op="hardsigmoid", inputs=(x,), attributes={}, weights={})
    product = graph.maker(value, "mul")
    if product is not None:
        for x, gate in (product.inputs, product.inputs[::-1]):
            if _shifted_relu6(gate, graph) == x:
                return replace(node, op="hardswish", inputs=(x,), attributes={}, weights={})
    return None


def _shifted_relu6(value: str, graph: Graph) -> str | None:
    clip = graph.maker(value, "relu6")
    if clip is None:
        return None
    x, scale, shift = graph.scaled(clip.inputs[0])
    return x if scale == 1.0 and near(shift, 3.0) else None


def gelu(node: DraftNode, graph: Graph) -> DraftNode | None:
    """c x (1 + erf(x / sqrt 2)), and the form with tanh."""
    if node.op != "mul":
        return None
    for left, right in (node.inputs, node.inputs[::-1]):
        gate, scale, shift = graph.scaled(right)
        if scale == 0.0 or scale != shift:
            continue
        x, factor, offset = graph.scaled(left)
        bend = graph.maker(gate, "erf", "tanh")
        if bend is None or offset != 0.0:
            continue
        kind = _kind(bend, (left, 1.0), graph) or _kind(bend, (x, factor), graph)
        if kind is None:
            continue
        source, times = (left, 1.0) if _kind(bend, (left, 1.0), graph) else (x, factor)
        made = replace(node, op="gelu", inputs=(source,), attributes={"approximate": kind}, weights={})
        total = 2.0 * times * scale
        if near(total, 1.0):
            return made
        name = f"{node.name}.gelu"
        value = graph.insert(replace(made, name=name, outputs=(name,)), graph.shapes[node.output])
        return replace(
            node, op="affine", inputs=(value,), attributes={"scale": total, "shift": 0.0}, weights={}
        )
    return None


def _kind(bend: DraftNode, source: tuple[str, float], graph: Graph) -> str | None:
    """Which GELU `bend` belongs to, as a function of the value source[0]."""
    x = source[0]
    inner, scale, shift = graph.scaled(bend.inputs[0])
    if bend.op == "erf":
        return "none" if inner == x and near(scale, 1 / sqrt(2)) and shift == 0.0 else None
    if not near(scale, sqrt(2 / pi)) or shift != 0.0:
        return None
    total = graph.maker(inner, "add")
    if total is None:
        return None
    for one, other in (total.inputs, total.inputs[::-1]):
        cube, small, zero = graph.scaled(other)
        if one == x and near(small, 0.044715) and zero == 0.0 and _is_cube(cube, x, graph):
            return "tanh"
    return None


def _is_cube(value: str, x: str, graph: Graph) -> bool:
    power = graph.maker(value, "power")
    if power is not None:
        return power.inputs[0] == x and power.attributes["exponent"] == 3.0
    product = graph.maker(value, "mul")
    if product is None:
        return False
    return any(
        one == x and (square := graph.maker(other, "mul")) is not None and square.inputs == (x, x)
        for one, other in (product.inputs, product.inputs[::-1])
    )


RULES: tuple[Rule, ...] = (gates, hard, gelu)
