"""Elementwise functions and softmax: the shape stays."""

from collections.abc import Mapping, Sequence

from gossamer.graph.network import Node
from gossamer.graph.operators.base import Operator, Shape, expect, int_attribute, one_of, same_shape, whole


def _softmax(node: Node, inputs: Sequence[Shape], weights: Mapping[str, Shape]) -> Shape:
    shape, axis = inputs[0], int_attribute(node, "axis")
    expect(axis < len(shape), node, f"an axis less than the rank {len(shape)}", axis)
    return shape


RELU = Operator(name="relu", shape=same_shape)
RELU6 = Operator(name="relu6", shape=same_shape)
SILU = Operator(name="silu", shape=same_shape)
SIGMOID = Operator(name="sigmoid", shape=same_shape)
GELU = Operator(name="gelu", shape=same_shape, attributes={"approximate": one_of("none", "tanh")})
SOFTMAX = Operator(name="softmax", shape=_softmax, attributes={"axis": whole(1, 7)})
