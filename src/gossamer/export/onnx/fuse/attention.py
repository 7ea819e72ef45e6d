"""softmax(c q k^T + mask) v becomes one operator."""

from __future__ import annotations

from dataclasses import replace

from gossamer.export.draft import DraftNode
from gossamer.export.onnx.fuse.graph import Graph, Rule
from gossamer.graph.strict_json import Json


def without_guard(node: DraftNode, graph: Graph) -> DraftNode | None:
    """where(p != p, 0, p) behind a softmax: masks are finite here, so no row of it is undefined."""
    if node.op != "where":
        return None
    test, p = graph.maker(node.inputs[0], "not_equal"), node.inputs[2]
    zero = graph.constant(node.inputs[1])
    if (
        test is None
        or test.inputs != (p, p)
        or graph.maker(p, "softmax") is None
        or zero is None
        or zero.any()
    ):
        return None
    graph.same(node.output, p)
    return None


def attention(node: DraftNode, graph: Graph) -> DraftNode | None:
    """The product with v is the root."""
    if node.op != "matmul" or node.attributes["transpose_b"]:
        return None
    softmax = graph.maker(node.inputs[0], "softmax")
    if softmax is None or softmax.attributes["axis"] != len(graph.shapes[softmax.output]) - 1:
        return None
    scores, mask, factor = softmax.inputs[0], None, 1.0
    for value, other in _terms(scores, graph):
        x, scale, shift = graph.scaled(value)
        if graph.maker(x, "matmul") is not None and shift == 0.0:
            scores, mask, factor = x, other, scale
            break
    product = graph.maker(scores, "matmul")
    if product is None:
        return None
    q, k, v = product.inputs[0], product.inputs[1], node.inputs[1]
    outer = 1.0
    if not product.attributes["transpose_b"]:
        k, outer = _transposed(node, k, graph)
    q, scale, shift = _unscaled(q, graph)
    k, times, offset = _unscaled(k, graph)
    if shift != 0.0 or offset != 0.0 or len({graph.shapes[x][:-2] for x in (q, k, v)}) != 1:
        return None
    attributes: dict[str, Json] = {
        "scale": factor * scale * times * outer,
        "causal": False,
        "mask": "none" if mask is None else "add",
    }
    inputs = (q, k, v) if mask is None else (q, k, v, mask)
    return replace(node, op="attention", inputs=inputs, attributes=attributes)


def _terms(value: str, graph: Graph) -> list[tuple[str, str | None]]:
    total = graph.maker(value, "add")
    if total is None:
        return [(value, None)]
    first, second = total.inputs
    return [(first, second), (second, first)]


def _unscaled(value: str, graph: Graph) -> tuple[str, float, float]:
    """Through an affine map by a number whose shift is zero."""
    x, scale, shift = graph.scaled(value)
    return (x, scale, shift) if shift == 0.0 else (value, 1.0, 0.0)


def _transposed(node: DraftNode, value: str, graph: Graph) -> tuple[str, float]:
    """k from c k^T, and c: a permutation joins the one that is there, or cancels it."""
    x, scale, _ = _unscaled(value, graph)
    rank = len(graph.shapes[value])
    swap: list[Json] = [*range(1, rank - 2), rank - 1, rank - 2]
    inner = graph.maker(x, "permute")
    if inner is not None:
        first = inner.attributes["order"]
        assert isinstance(first, list)
        order = [first[int(str(place)) - 1] for place in swap]
        if order == list(range(1, rank)):
            return inner.inputs[0], scale
        source: str = inner.inputs[0]
    else:
        order, source = swap, x
    name = f"{node.name}.keys"
    shape = graph.shapes[value]
    made = DraftNode(op="permute", name=name, inputs=(source,), outputs=(name,), attributes={"order": order})
    return graph.insert(made, (*shape[:-2], shape[-1], shape[-2])), scale


RULES: tuple[Rule, ...] = (without_guard, attention)
