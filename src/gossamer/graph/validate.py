"""Every rule of the network that needs operators, weights and shapes; the result is the shape of every value.

Rules are checked with the free dimensions, batch and length, at the four combinations of their ends. No attribute can count the batch, so
that what holds at its ends holds between them. A length between its ends may still break a rule (it does not divide, say): that is an error
of the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

from gossamer.errors import GraphError
from gossamer.graph.fields import show
from gossamer.graph.manifest import FORMAT_VERSION
from gossamer.graph.network import Network, Node
from gossamer.graph.operators import OPERATORS, Length, Operator, Shape, Site
from gossamer.graph.versions import beyond_version_1

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
    """Shape of every value with the free dimensions at their minima and at their maxima, and the format version that the network needs."""

    at_min: Mapping[str, Shape]
    at_max: Mapping[str, Shape]
    version: int


def validate(
    network: Network, weights: Mapping[str, WeightLike], *, version: int = FORMAT_VERSION
) -> ValueShapes:
    """Check `network` (structure too) against the weights it names; GraphError names the node, expected and found.

    `version`: the format version to whose rules the network must keep.
    """
    network = Network.from_json(network.to_json())
    used: set[str] = set()
    for node in network.nodes:
        _check_node(node, weights)
        used.update(node.weights.values())
    for weight in weights:
        if weight not in used:
            raise GraphError(f"weight {show(weight)}: expected a node that uses it, got none")
    ends = _ends(network, weights)
    needed = 1
    for shapes in ends.values():
        _check_states(network, shapes)
        feature = next(beyond_version_1(network, shapes), None)
        needed = needed if feature is None else 2
        if needed > version:
            raise GraphError(f"network: expected what format version {version} can hold, got {feature}")
    _check_growth(ends[False, False], ends[False, True])
    return ValueShapes(at_min=ends[False, False], at_max=ends[True, True], version=needed)


def infer_shapes(
    network: Network, weights: Mapping[str, WeightLike], sizes: Mapping[str, int]
) -> dict[str, Shape]:
    """Shape of every value where the free dimensions have the given sizes."""
    length = length_at(network, sizes)
    shapes: dict[str, Shape] = {}
    for item in network.inputs:
        shape = tuple(sizes[size] if isinstance(size, str) else size for size in item.shape)
        shapes[item.name] = _bounded(shape, f"input {show(item.name)}")
    for node in network.nodes:
        operator, where = OPERATORS[node.op], f"node {show(node.name)} ({node.op})"
        site = Site(
            node=node,
            inputs=[shapes[name] for name in node.inputs],
            weights={role: weights[name].shape for role, name in node.weights.items()},
            length=length,
        )
        for name, rule in zip(node.outputs, (operator.shape, *operator.more), strict=True):
            shapes[name] = _bounded(rule(site), where)
    return shapes


def length_at(network: Network, sizes: Mapping[str, int]) -> Length:
    """The length symbol of `network` where the free dimensions have the given sizes."""
    symbol = network.length
    if symbol is None:
        return Length()
    return Length(symbol=symbol, size=sizes[symbol], most=network.dims[symbol].max)


def _ends(network: Network, weights: Mapping[str, WeightLike]) -> dict[tuple[bool, bool], dict[str, Shape]]:
    """Shapes with (batch, length) at the maximum or not."""
    result: dict[tuple[bool, bool], dict[str, Shape]] = {}
    for batch in (False, True):
        for length in (False, True):
            alike = (batch and network.batch is not None, length and network.length is not None)
            if alike not in result:
                most = {network.batch: batch, network.length: length}
                sizes = {symbol: dim.max if most[symbol] else dim.min for symbol, dim in network.dims.items()}
                result[alike] = infer_shapes(network, weights, sizes)
            result[batch, length] = result[alike]
    return result


def _check_states(network: Network, shapes: Mapping[str, Shape]) -> None:
    values = {output.name: output.value for output in network.outputs}
    for state in network.states:
        need, found = shapes[state.input], shapes[values[state.output]]
        if need != found:
            raise GraphError(
                f"state {show(state.input)}: expected the output {show(state.output)} to have its shape {list(need)}, "
                f"got {list(found)}"
            )


def _check_growth(least: Mapping[str, Shape], most: Mapping[str, Shape]) -> None:
    for name, shape in least.items():
        if any(small > large for small, large in zip(shape, most[name], strict=True)):
            raise GraphError(
                f"value {show(name)}: expected no size to shrink while the length grows, got {list(shape)} at its minimum "
                f"and {list(most[name])} at its maximum"
            )


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
    count_out = 1 + len(operator.more)
    if len(node.outputs) != count_out:
        raise GraphError(f"{where}: expected {count_out} outputs, got {len(node.outputs)}")
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
        rule = operator.roles[role]
        kind = rule.kind
        if len(weight.shape) != (2 if kind == "matrix" else 1):
            raise GraphError(f"{where}: expected a {kind} as {role}, got the shape {list(weight.shape)}")
        if kind == "vector" and not rule.half and weight.dtype != "float32":
            raise GraphError(f"{where}: expected float32 for {role}, got {weight.dtype}")
        if role == "weight" and node.attributes.get("groups", 1) != 1 and weight.format != "dense":
            raise GraphError(f"{where}: expected the format dense where groups > 1, got {weight.format}")
