"""Products of values (`matmul`, `attention`) and rows of a table (`embedding`)."""

from math import prod

from gossamer.graph.network import MAX_RANK
from gossamer.graph.operators.attributes import boolean, number, one_of
from gossamer.graph.operators.base import Operator, Role, Shape, Site, expect

MAX_ELEMENTS = 2**40  # of a value, and of the scores of `attention`


def _matmul(site: Site[Shape]) -> Shape:
    a, b = site.inputs
    shaped = len(a) == len(b) >= 3 and a[0] == b[0]
    expect(
        shaped, site.node, f"two inputs of one rank of at least 3 and one batch, the first {list(a)}", list(b)
    )
    inner, outer = (b[-1], b[-2]) if site.node.attributes["transpose_b"] else (b[-2], b[-1])
    expect(inner == a[-1], site.node, f"{a[-1]} terms of each sum, as in {list(a)}", list(b))
    pairs = list(zip(a[1:-2], b[1:-2], strict=True))
    repeats = all(x == y or 1 in (x, y) for x, y in pairs)
    expect(repeats, site.node, f"sizes between batch and matrix equal to those of {list(a)} or 1", list(b))
    return (a[0], *(y if x == 1 else x for x, y in pairs), a[-2], outer)


def _attention(site: Site[Shape]) -> Shape:
    node, (q, k, v) = site.node, site.inputs[:3]
    fits = len(q) == len(k) == len(v) >= 3 and (*q[:-2], q[-1]) == (*k[:-2], k[-1]) and k[:-1] == v[:-1]
    found = ", ".join(str(list(shape)) for shape in (q, k, v))
    expect(fits, node, "q [N, ..., T, D], k [N, ..., S, D], v [N, ..., S, E]", found)
    masked = len(site.inputs) == 4
    count = len(site.inputs)
    expect(
        masked == (node.attributes["mask"] != "none"), node, "a fourth input where mask is not none", count
    )
    scores = (*q[:-1], k[-2])
    expect(prod(scores) <= MAX_ELEMENTS, node, "at most 2^40 scores", list(scores))
    if masked:
        mask = site.inputs[3]
        repeats = (
            len(mask) == len(scores)
            and mask[0] == scores[0]
            and all(a in (1, b) for a, b in zip(mask[1:], scores[1:], strict=True))
        )
        expect(repeats, node, f"a mask that can be repeated to {list(scores)}", list(mask))
    return (*q[:-1], v[-1])


def _embedding(site: Site[Shape]) -> Shape:
    shape = site.inputs[0]
    expect(len(shape) < MAX_RANK, site.node, f"an input of at most {MAX_RANK - 1} dimensions", list(shape))
    return (*shape, site.weights["weight"][1])


MATMUL = Operator(name="matmul", shape=_matmul, inputs=(2, 2), attributes={"transpose_b": boolean}, since=2)
ATTENTION = Operator(
    name="attention",
    shape=_attention,
    inputs=(3, 4),
    attributes={"scale": number, "causal": boolean, "mask": one_of("none", "add", "keep")},
    since=2,
)
EMBEDDING = Operator(name="embedding", shape=_embedding, roles={"weight": Role(kind="matrix")}, since=2)
