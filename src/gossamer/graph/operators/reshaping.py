"""`flatten`: the dimensions from `start` on become one."""

from collections.abc import Mapping, Sequence
from math import prod

from gossamer.graph.network import Node
from gossamer.graph.operators.base import Operator, Shape, expect, int_attribute, whole


def _flatten(node: Node, inputs: Sequence[Shape], weights: Mapping[str, Shape]) -> Shape:
    shape, start = inputs[0], int_attribute(node, "start")
    expect(start < len(shape), node, f"a start less than the rank {len(shape)}", start)
    return (*shape[:start], prod(shape[start:]))


FLATTEN = Operator(name="flatten", shape=_flatten, attributes={"start": whole(1, 7)})
