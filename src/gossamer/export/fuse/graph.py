"""The rewritten nodes so far, as the rules see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gossamer.export.draft import DraftNode
from gossamer.export.layout import Shape


@dataclass(kw_only=True)
class Graph:
    """names: values that are another value; uses: in the original graph."""

    shapes: dict[str, Shape]
    uses: Counter[str]
    nodes: list[DraftNode] = field(default_factory=list)
    makers: dict[str, DraftNode] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def append(self, node: DraftNode) -> None:
        """Take a finished node."""
        self.nodes.append(node)
        self.makers[node.output] = node

    def insert(self, node: DraftNode, shape: Shape) -> str:
        """A new node before the current one."""
        self.shapes[node.output] = shape
        self.uses[node.output] += 1
        self.append(node)
        return node.output

    def same(self, output: str, value: str) -> None:
        """`output` is `value`: what reads it reads that, and the node between is gone."""
        self.names[output] = self.names.get(value, value)
        self.uses[self.names[output]] += self.uses[output] - 1

    def maker(self, value: str, *ops: str) -> DraftNode | None:
        """The node that makes `value`, if it is one of `ops`."""
        node = self.makers.get(value)
        return node if node is not None and (not ops or node.op in ops) else None

    def scaled(self, value: str) -> tuple[str, float, float]:
        """(x, scale, shift) with value = scale x + shift, for the last affine map by numbers."""
        node = self.maker(value, "affine", "channel_affine")
        numbers = None if node is None else affine_numbers(node)
        if node is None or numbers is None:
            return value, 1.0, 0.0
        return node.inputs[0], *numbers

    def scaled_node(self, node: DraftNode) -> tuple[float, float]:
        """Scale and shift of an affine map; (nan, nan) where they differ among the channels."""
        return affine_numbers(node) or (float("nan"), float("nan"))

    def constant(self, value: str) -> np.ndarray | None:
        """The array [1, ...] of a constant without symbolic sizes."""
        node = self.maker(value, "constant")
        shape = None if node is None else node.attributes["shape"]
        if node is None or not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
            return None
        return node.weights["value"].values.reshape([1, *(int(str(size)) for size in shape)])

    def last_vector(self, value: str, size: object) -> np.ndarray | None:
        """A constant that only varies along the last dimension, as [size]."""
        found = self.constant(value)
        if found is None or found.shape[-1] != size or found.size != found.shape[-1]:
            return None
        return found.reshape(-1)


Rule = Callable[[DraftNode, Graph], DraftNode | None]


def affine_numbers(node: DraftNode) -> tuple[float, float] | None:
    """Scale and shift of an affine map that is the same for all numbers."""
    if node.op == "affine":
        scale, shift = node.attributes["scale"], node.attributes["shift"]
        assert isinstance(scale, float)
        assert isinstance(shift, float)
        return scale, shift
    values = [node.weights[role].values for role in ("scale", "shift")]
    if any((value != value[0]).any() for value in values):
        return None
    return float(values[0][0]), float(values[1][0])


def near(found: float, wanted: float) -> bool:
    """Equal up to the rounding of float32 or float16 constants."""
    return abs(found - wanted) <= 1e-3 * abs(wanted) + 1e-12
