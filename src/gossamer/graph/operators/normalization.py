"""`channel_affine` (what is left of a batch norm that cannot be folded) and `layer_norm`."""

from collections.abc import Mapping, Sequence
from math import prod

from gossamer.graph.network import Node
from gossamer.graph.operators.base import Operator, Role, Shape, expect, int_attribute, positive, whole


def _channel_affine(node: Node, inputs: Sequence[Shape], weights: Mapping[str, Shape]) -> Shape:
    shape = inputs[0]
    expect(len(shape) >= 2, node, "an input [N, C, ...]", list(shape))
    for role in ("scale", "shift"):
        expect(weights[role] == (shape[1],), node, f"{role} of shape [{shape[1]}]", list(weights[role]))
    return shape


def _layer_norm(node: Node, inputs: Sequence[Shape], weights: Mapping[str, Shape]) -> Shape:
    shape, axes = inputs[0], int_attribute(node, "axes")
    expect(axes < len(shape), node, f"axes less than the rank {len(shape)}", axes)
    need = (prod(shape[len(shape) - axes :]),)
    for role, found in weights.items():
        expect(found == need, node, f"{role} of shape {list(need)}", list(found))
    return shape


CHANNEL_AFFINE = Operator(
    name="channel_affine",
    shape=_channel_affine,
    roles={"scale": Role(kind="vector"), "shift": Role(kind="vector")},
)
LAYER_NORM = Operator(
    name="layer_norm",
    shape=_layer_norm,
    attributes={"axes": whole(1, 7), "epsilon": positive},
    roles={"weight": Role(kind="vector", required=False), "bias": Role(kind="vector", required=False)},
)
