"""Every rule of the network that needs operators, weights and shapes; the result is the shape of every value.

A rule is checked with the free dimension at its minimum and again at its maximum: all sizes are constant or
linear in it, so what holds at both ends holds between them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

from gossamer.errors import GraphError
from gossamer.graph.fields import show
from gossamer.graph.network import Network, Node
from gossamer.graph.operators import OPERATORS, Operator, Shape

MAX_ELEMENTS = 2**40


class WeightLike(Protocol):
    """What the graph must know of a weight; `formats.PackedMatrix` is one."""

    @property
    def format(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class WeightInfo:
    """A weight without its values: enough to validate a network."""

    format: str = "dense"
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class ValueShapes:
    """Shape of every value with the free dimension at its minimum and at its maximum."""

    at_min: Mapping[str, Shape]
    at_max: Mapping[str, Shape]


def validate(network: Network, weights: Mapping[str, WeightLike]) -> ValueShapes:
    """Check `network` (structure too) against the weights it names; GraphError names the node, expected and found."""
    network = Network.from_json(network.to_json())
    used: set[str] = set()
    for node in network.nodes:
        _check_node(node, weights)
        used.update(node.weights.values())
    for weight in weights:
        if weight not in used:
            raise GraphError(f"weight {show(weight)}: expected a node that uses it, got none")
    return ValueShapes(
        at_min=infer_shapes(network, weights, {symbol: dim.min for symbol, dim in network.dims.items()}),
        at_max=infer_shapes(network, weights, {symbol: dim.max for symbol, dim in network.dims.items()}),
    )


def infer_shapes(
    network: Network, weights: Mapping[str, WeightLike], sizes: Mapping[str, int]
) -> dict[str, Shape]:
    """Shape of every value where the free dimensions have the given sizes."""
    shapes: dict[str, Shape] = {}
    for item in network.inputs:
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in item.shape)
        shapes[item.name] = _bounded(shape, f"input {show(item.name)}")
    for node in network.nodes:
        roles = {role: weights[name].shape for role, name in node.weights.items()}
        shape = OPERATORS[node.op].shape(node, [shapes[name] for name in node.inputs], roles)
        shapes[node.outputs[0]] = _bounded(shape, f"node {show(node.name)} ({node.op})")
    return shapes


def _bounded(shape: Shape, where: str) -> Shape:
    if prod(shape) > MAX_ELEMENTS:
        raise GraphError(f"{where}: expected at most 2^40 elements, got the shape {list(shape)}")
    return shape


def _check_node(node: Node, weights: Mapping[str, WeightLike]) -> None:
    operator = OPERATORS.get(node.op)
    where = f"node {show(node.name)} ({node.op})"
    if operator is None:
        raise GraphError(
            f"node {show(node.name)}: expected one of {', '.join(OPERATORS)}, got the op {show(node.op)}"
        )
    fewest, most = operator.inputs
    if not fewest <= len(node.inputs) <= most:
        count = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise GraphError(f"{where}: expected {count} inputs, got {len(node.inputs)}")
    if set(node.attributes) != set(operator.attributes):
        raise GraphError(
            f"{where}: expected the attributes {show(sorted(operator.attributes))}, got {show(sorted(node.attributes))}"
        )
    for key, check in operator.attributes.items():
        check(node.attributes[key], f"{where} {key}")
    _check_roles(node, operator, weights, where)


def _check_roles(node: Node, operator: Operator, weights: Mapping[str, WeightLike], where: str) -> None:
    for role, rule in operator.roles.items():
        if rule.required and role not in node.weights:
            raise GraphError(
                f'{where}: expected a weight for the role "{role}", got {show(sorted(node.weights))}'
            )
    for role, name in node.weights.items():
        if role not in operator.roles:
            raise GraphError(
                f"{where}: expected only the roles {show(sorted(operator.roles))}, got {show(role)}"
            )
        weight = weights.get(name)
        if weight is None:
            raise GraphError(
                f"{where}: expected {role} {show(name)} among the weights, got {len(weights)} others"
            )
        kind = operator.roles[role].kind
        if len(weight.shape) != (2 if kind == "matrix" else 1):
            raise GraphError(f"{where}: expected a {kind} as {role}, got the shape {list(weight.shape)}")
        if kind == "vector" and weight.dtype != "float32":
            raise GraphError(f"{where}: expected float32 for {role}, got {weight.dtype}")
        if role == "weight" and node.attributes.get("groups", 1) != 1 and weight.format != "dense":
            raise GraphError(f"{where}: expected the format dense where groups > 1, got {weight.format}")
