"""What an operator's file declares: number of inputs and outputs, attributes, weight roles, and the rules of its outputs' shapes.

Letters: N batch, C channels, H W height and width, O I outputs and inputs of a matrix, K its reduced size, S length of a sequence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

from gossamer.errors import GraphError
from gossamer.graph.fields import show
from gossamer.graph.network import Node
from gossamer.graph.strict_json import Json

T = TypeVar("T")
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Length:
    """The length symbol of a network, its size now and at most; no symbol where the network has none."""

    symbol: str | None = None
    size: int = 1
    most: int = 1


@dataclass(frozen=True, kw_only=True)
class Site(Generic[T]):
    """A node where it stands. `T` is what stands for a value: its shape for shape rules, its numbers for an executor."""

    node: Node
    inputs: Sequence[T]
    weights: Mapping[str, T]  # by role
    length: Length = field(default_factory=Length)


Check: TypeAlias = Callable[[Json, str], None]  # an attribute's value and where it stands
ShapeRule: TypeAlias = Callable[[Site[Shape]], Shape]


@dataclass(frozen=True, kw_only=True)
class Role:
    """A weight of an operator. Vectors are float32, unless `half` allows float16 too."""

    kind: Literal["matrix", "vector"]
    required: bool = True
    half: bool = False


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One line of docs/formats/operators.md."""

    name: str
    shape: ShapeRule  # of the first output
    more: tuple[ShapeRule, ...] = ()  # of each further output
    inputs: tuple[int, int] = (1, 1)  # fewest and most
    attributes: Mapping[str, Check] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    since: int = 1  # format version


def same_shape(site: Site[Shape]) -> Shape:
    """The shape rule of everything elementwise."""
    return site.inputs[0]


def expect(holds: bool, node: Node, expected: str, got: object) -> None:
    """GraphError that names the node, unless `holds`."""
    if not holds:
        raise GraphError(f"node {show(node.name)} ({node.op}): expected {expected}, got {got}")


def expect_axis(site: Site[Shape], axis: int) -> None:
    """GraphError unless the input has that axis."""
    rank = len(site.inputs[0])
    expect(axis < rank, site.node, f"an axis less than the rank {rank}", axis)
