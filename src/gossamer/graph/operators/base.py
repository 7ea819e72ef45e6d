"""What an operator's file declares: number of inputs, attributes, weight roles, and the rule of its output shape.

Letters: N batch, C channels, H W height and width, O I outputs and inputs of a matrix, K its reduced size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gossamer.errors import GraphError
from gossamer.graph.fields import integer, show
from gossamer.graph.network import Node
from gossamer.graph.strict_json import Json

Shape: TypeAlias = tuple[int, ...]
Check: TypeAlias = Callable[[Json, str], None]  # an attribute's value and where it stands
ShapeRule: TypeAlias = Callable[[Node, Sequence[Shape], Mapping[str, Shape]], Shape]  # weights: role -> shape


@dataclass(frozen=True, kw_only=True)
class Role:
    """A weight of an operator."""

    kind: Literal["matrix", "vector"]
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One line of docs/formats/operators.md."""

    name: str
    shape: ShapeRule
    inputs: tuple[int, int] = (1, 1)  # fewest and most
    attributes: Mapping[str, Check] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)


def same_shape(node: Node, inputs: Sequence[Shape], weights: Mapping[str, Shape]) -> Shape:
    """The shape rule of everything elementwise."""
    return inputs[0]


def expect(holds: bool, node: Node, expected: str, got: object) -> None:
    """GraphError that names the node, unless `holds`."""
    if not holds:
        raise GraphError(f"node {show(node.name)} ({node.op}): expected {expected}, got {got}")


def whole(low: int, high: int) -> Check:
    """An integer attribute from `low` to `high`."""

    def check(value: Json, where: str) -> None:
        integer(value, where, low, high)

    return check


def wholes(count: int, low: int, high: int) -> Check:
    """An array attribute of exactly `count` integers."""

    def check(value: Json, where: str) -> None:
        if not isinstance(value, list) or len(value) != count:
            raise GraphError(f"{where}: expected an array of {count} integers, got {show(value)}")
        for item in value:
            integer(item, where, low, high)

    return check


def boolean(value: Json, where: str) -> None:
    """A boolean attribute."""
    if not isinstance(value, bool):
        raise GraphError(f"{where}: expected true or false, got {show(value)}")


def positive(value: Json, where: str) -> None:
    """A number greater than 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise GraphError(f"{where}: expected a number greater than 0, got {show(value)}")


def one_of(*choices: str) -> Check:
    """A string attribute out of `choices`."""

    def check(value: Json, where: str) -> None:
        if value not in choices:
            raise GraphError(f"{where}: expected one of {show(list(choices))}, got {show(value)}")

    return check


def int_attribute(node: Node, key: str) -> int:
    """An integer attribute that was checked."""
    value = node.attributes[key]
    assert isinstance(value, int)
    return value


def int_list(node: Node, key: str) -> tuple[int, ...]:
    """An array of integers that was checked."""
    value = node.attributes[key]
    assert isinstance(value, list)
    return tuple(item for item in value if isinstance(item, int))
