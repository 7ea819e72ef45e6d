"""Several values become one: `add` and `concat`."""

from collections.abc import Mapping, Sequence

from gossamer.graph.network import Node
from gossamer.graph.operators.base import Operator, Shape, expect, int_attribute, whole


def _add(node: Node, inputs: Sequence[Shape], weights: Mapping[str, Shape]) -> Shape:
    expect(
        inputs[0] == inputs[1],
        node,
        f"two values of equal shape, the first {list(inputs[0])}",
        list(inputs[1]),
    )
    return inputs[0]


def _concat(node: Node, inputs: Sequence[Shape], weights: Mapping[str, Shape]) -> Shape:
    axis, first = int_attribute(node, "axis"), inputs[0]
    expect(axis < len(first), node, f"an axis less than the rank {len(first)}", axis)
    for shape in inputs[1:]:
        fits = (
            len(shape) == len(first)
            and shape[:axis] == first[:axis]
            and shape[axis + 1 :] == first[axis + 1 :]
        )
        expect(fits, node, f"shapes equal to {list(first)} but for axis {axis}", list(shape))
    return (*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :])


ADD = Operator(name="add", shape=_add, inputs=(2, 2))
CONCAT = Operator(name="concat", shape=_concat, inputs=(2, 64), attributes={"axis": whole(1, 7)})
