"""softmax(c q k^T + mask) v becomes one operator.

From the softmax backwards: sizes of 1 that were dropped or added, masks (a sum, or `where` with a number below all scores), and numbers
that scale, in any order, down to the product. Nothing is fused where the softmax is needed elsewhere: it would be computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from gossamer.export.draft import FARTHEST, DraftNode, listed
from gossamer.export.fuse.graph import Graph, Rule
from gossamer.export.layout import Shape
from gossamer.export.weight import Weight
from gossamer.graph.strict_json import Json

HIDDEN = -1e4
"""A number that hides a score: e^HIDDEN is zero, and no score comes near it."""
_MOVES = ("permute", "reshape", "flatten")


def without_guard(node: DraftNode, graph: Graph) -> DraftNode | None:
    """where(p != p, 0, p) behind a softmax: masks are finite here, so no row of it is undefined."""
    if node.op != "where":
        return None
    test, p = graph.maker(node.inputs[0], "not_equal"), node.inputs[2]
    zero = graph.constant(node.inputs[1])
    if (
        test is None
        or test.inputs != (p, p)
        or graph.uses[test.output] != 1
        or graph.maker(p, "softmax") is None
        or zero is None
        or zero.any()
    ):
        return None
    graph.same(node.output, p)
    graph.uses[p] -= 2  # the test reads it twice, and nothing else reads the test
    return None


@dataclass(frozen=True, kw_only=True)
class _Mask:
    """One mask. hides: None where it is added; else a condition, and whether a score is hidden where it holds."""

    value: str
    hides: bool | None = None


@dataclass(frozen=True, kw_only=True)
class _Scores:
    """factor * (the matrix product), then masks, in this order."""

    product: DraftNode
    factor: float = 1.0
    masks: tuple[_Mask, ...] = ()


def attention(node: DraftNode, graph: Graph) -> DraftNode | None:
    """The product with v is the root."""
    if node.op != "matmul":
        return None
    softmax = _lone_softmax(node.inputs[0], graph)
    if softmax is None or softmax.attributes["axis"] != len(graph.shapes[softmax.output]) - 1:
        return None
    scores = _scores(softmax.inputs[0], graph)
    if scores is None:
        return None
    product = scores.product
    q, k, v = product.inputs[0], product.inputs[1], node.inputs[1]
    if not _fits((q, k, v), product, softmax, node, graph):
        return None
    outer = last = 1.0
    if not product.attributes["transpose_b"]:
        k, outer = _transposed(f"{node.name}.keys", k, graph)
    if node.attributes["transpose_b"]:
        v, last = _transposed(f"{node.name}.values", v, graph)
        if last != 1.0:
            return None
    q, scale = _unscaled(q, graph)
    k, times = _unscaled(k, graph)
    mask = _mask(node, scores, graph)
    attributes: dict[str, Json] = {
        "scale": scores.factor * scale * times * outer,
        "causal": False,
        "mask": "none" if mask is None else "add",
    }
    inputs = (q, k, v) if mask is None else (q, k, v, mask)
    return replace(node, op="attention", inputs=inputs, attributes=attributes)


def _fits(
    inputs: tuple[str, str, str], product: DraftNode, softmax: DraftNode, node: DraftNode, graph: Graph
) -> bool:
    """The operator's shapes: q [N, ..., T, D], k [N, ..., S, D], v [N, ..., S, E], and T x S scores all the way from one product to the
    other. (Scores of a matrix and a vector are a column that is read as a row: no such thing.)"""
    q, k, v = (graph.shapes[value] for value in inputs)
    scores, probabilities = graph.shapes[product.output], graph.shapes[node.inputs[0]]
    return (
        q[:-2] == k[:-2] == v[:-2]
        and graph.shapes[softmax.output][-1] == scores[-1]
        and probabilities[-2:] == scores[-2:]
        and graph.shapes[node.output][:-1] == q[:-1]
    )


def _lone_softmax(value: str, graph: Graph) -> DraftNode | None:
    """The softmax behind `value` where nothing else reads it, nor the value."""
    while (node := graph.maker(value)) is not None and graph.uses[value] == 1:
        if node.op == "softmax":
            return node
        before = _without_ones(node, graph)
        if before is None:
            return None
        value = before
    return None


def _without_ones(node: DraftNode, graph: Graph) -> str | None:
    """The input of a reshape that only adds or drops sizes of 1."""
    if node.op not in ("reshape", "flatten"):
        return None
    old, new = graph.shapes[node.inputs[0]], graph.shapes[node.output]
    same = [size for size in old if size != 1] == [size for size in new if size != 1]
    return node.inputs[0] if same else None


def _scores(value: str, graph: Graph) -> _Scores | None:
    """How `value` is made of a product; None where it is not."""
    node = graph.maker(value)
    if node is None:
        return None
    if node.op == "matmul":
        return _Scores(product=node)
    inner = _without_ones(node, graph)
    if inner is not None:
        return _scores(inner, graph)
    if node.op in ("affine", "channel_affine"):
        scale, shift = graph.scaled_node(node)
        found = _scores(node.inputs[0], graph) if shift == 0.0 and scale > 0.0 else None
        if found is None or any(mask.hides is None for mask in found.masks):
            return None
        return replace(found, factor=found.factor * scale)
    if node.op == "add":
        for part, mask in (node.inputs, node.inputs[::-1]):
            found = _scores(part, graph)
            if found is not None and _sees_keys(node, found, graph):
                return replace(found, masks=(*found.masks, _Mask(value=mask)))
    if node.op == "where":
        condition, first, second = node.inputs
        for hides, fill, part in ((True, first, second), (False, second, first)):
            found = _scores(part, graph) if _is_far(fill, graph) else None
            if found is not None and _sees_keys(node, found, graph):
                return replace(found, masks=(*found.masks, _Mask(value=condition, hides=hides)))
    return None


def _sees_keys(node: DraftNode, scores: _Scores, graph: Graph) -> bool:
    """A mask of this sum is a mask of the product: of its shape, or with sizes of 1 dropped, but not moved."""
    here, full = graph.shapes[node.output], graph.shapes[scores.product.output]
    return here == full or (len(here) < len(full) and here[-1] == full[-1])


def _is_far(value: str, graph: Graph) -> bool:
    """A constant that is far below every score."""
    array = graph.constant(_source(value, graph))
    return array is not None and bool((array <= HIDDEN).all())


def _source(value: str, graph: Graph) -> str:
    """The value behind reshapes."""
    while (node := graph.maker(value, "reshape", "flatten")) is not None:
        value = node.inputs[0]
    return value


def _mask(node: DraftNode, scores: _Scores, graph: Graph) -> str | None:
    """What is added to the scores, all masks together, in the rank of the product; None where nothing is."""
    full = graph.shapes[scores.product.output]
    names = _names(f"{node.name}.mask", graph)
    total: str | None = None
    for mask in scores.masks:
        value = _ranked(mask.value, full, names, graph)
        if mask.hides is not None:
            total = _hidden(value, mask.hides, total, names, graph)
        elif total is None:
            total = value
        else:
            total = _insert(graph, next(names), "add", (total, value), _broadcast(graph, total, value))
    return total


def _hidden(condition: str, hides: bool, total: str | None, names: Iterator[str], graph: Graph) -> str:
    """The farthest number where scores are hidden, else `total`; a condition that is known becomes numbers here."""
    shape = graph.shapes[condition]
    source = _source(condition, graph)
    known = graph.constant(source)
    if known is not None and total is None:
        numbers = np.where((known.reshape(-1) != 0) == hides, -FARTHEST, 0.0).astype(np.float32)
        return _constant(graph, next(names), shape, numbers)
    ones: Shape = (shape[0], *(1 for _ in shape[1:]))
    far = _constant(graph, next(names), ones, np.array([-FARTHEST], np.float32))
    if total is None:
        total = _constant(graph, next(names), ones, np.zeros(1, np.float32))
    sides = (far, total) if hides else (total, far)
    return _insert(graph, next(names), "where", (condition, *sides), _broadcast(graph, condition, total))


def _broadcast(graph: Graph, *values: str) -> Shape:
    """The shape of an elementwise operation."""
    shapes = zip(*(graph.shapes[value] for value in values), strict=True)
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in shapes)


def _ranked(value: str, full: Shape, names: Iterator[str], graph: Graph) -> str:
    """The mask with sizes of 1 where the scores had sizes of 1 that it lacks."""
    shape = graph.shapes[value]
    if len(shape) == len(full):
        return value
    rest = list(shape[1:])
    found: list[int] = []
    for place in range(len(full) - 1, 0, -1):
        left = [size for size in full[1:place] if size != 1]
        fits = rest and rest[-1] in (1, full[place]) and (full[place] != 1 or len(rest) > len(left))
        size = rest.pop() if fits else 1
        assert isinstance(size, int)
        found.append(size)
    assert not rest
    made = (shape[0], *found[::-1])
    return _insert(graph, next(names), "reshape", (value,), made, {"shape": listed(made[1:])})


def _unscaled(value: str, graph: Graph) -> tuple[str, float]:
    """(x, scale) with value = scale x, through what only moves data."""
    x, scale, shift = graph.scaled(value)
    if x != value:
        return (x, scale) if shift == 0.0 else (value, 1.0)
    node = graph.maker(value, *_MOVES)
    if node is None:
        return value, 1.0
    inner, scale = _unscaled(node.inputs[0], graph)
    if inner == node.inputs[0]:
        return value, 1.0
    name = next(_names(f"{value}.unscaled", graph))
    return graph.insert(
        replace(node, name=name, inputs=(inner,), outputs=(name,)), graph.shapes[value]
    ), scale


def _transposed(name: str, value: str, graph: Graph) -> tuple[str, float]:
    """k from c k^T, and c: a permutation joins the one that is there, or cancels it."""
    x, scale, shift = graph.scaled(value)
    if shift != 0.0:
        x, scale = value, 1.0
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
    shape = graph.shapes[value]
    turned = (*shape[:-2], shape[-1], shape[-2])
    return _insert(graph, next(_names(name, graph)), "permute", (source,), turned, {"order": order}), scale


def _names(wanted: str, graph: Graph) -> Iterator[str]:
    """`wanted`, `wanted#2`, ... that no value has."""
    number = 1
    while True:
        name = wanted if number == 1 else f"{wanted}#{number}"
        if name not in graph.shapes:
            yield name
        number += 1


def _insert(
    graph: Graph,
    name: str,
    op: str,
    inputs: tuple[str, ...],
    shape: Shape,
    attributes: dict[str, Json] | None = None,
) -> str:
    made = DraftNode(op=op, name=name, inputs=inputs, outputs=(name,), attributes=attributes or {})
    return graph.insert(made, shape)


def _constant(graph: Graph, name: str, shape: Shape, values: np.ndarray) -> str:
    """A constant beside the batch, which it takes where others do: there is one at least, the number that hides."""
    like = next(node for node in graph.nodes if node.op == "constant")
    made = DraftNode(
        op="constant",
        name=name,
        inputs=like.inputs,
        outputs=(name,),
        attributes={"shape": listed(shape[1:])},
        weights={"value": Weight(name=f"{name}.value", values=values, of_model=False)},
    )
    return graph.insert(made, shape)


RULES: tuple[Rule, ...] = (without_guard, attention)
