"""From walks at several concrete sizes to one network with free sizes.

Whatever is the same at every size is a constant of the network; what is the length itself becomes the length
symbol; anything else that changes cannot be written down, and is an error. So no symbolic arithmetic is needed
for the computations of shapes that ONNX files are full of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gossamer.errors import ExportError
from gossamer.export.draft import Draft, DraftNode, Weight, plain
from gossamer.graph.strict_json import Json

LENGTH = "s"
REST = -1


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The length in the first and in the other walk; None where there is none."""

    first: int
    other: int


class SizeWritten(ExportError):
    """A size that should be free is written into the graph."""


def same_batch(first: Draft, other: Draft) -> None:
    """Nothing may change with the batch."""
    _check_nodes(first, other, "batch")
    for a, b in zip(first.nodes, other.nodes, strict=True):
        if dict(a.attributes) != dict(b.attributes) or not all(
            _equal(a.weights[role], b.weights[role]) for role in a.weights
        ):
            raise SizeWritten(
                f"node {a.name!r} ({a.op}): expected the same at every batch, got another one at another batch"
            )


def with_length(first: Draft, other: Draft, lengths: Lengths) -> None:
    """Put the length symbol into the nodes of `first`."""
    _check_nodes(first, other, "length")
    nodes = [_node(first, other, a, b, lengths) for a, b in zip(first.nodes, other.nodes, strict=True)]
    first.nodes[:] = nodes


def _check_nodes(first: Draft, other: Draft, what: str) -> None:
    kinds = [
        [(node.op, node.name, node.inputs, sorted(node.weights)) for node in draft.nodes]
        for draft in (first, other)
    ]
    if kinds[0] != kinds[1]:
        differ = next(
            (a for a, b in zip(*kinds, strict=False) if a != b), kinds[0][-1] if kinds[0] else ("", "")
        )
        raise SizeWritten(
            f"node {differ[1]!r} ({differ[0]}): the graph does something else at another {what}; export the model with that "
            f"dimension free, or keep it fixed"
        )


def _node(first: Draft, other: Draft, a: DraftNode, b: DraftNode, lengths: Lengths) -> DraftNode:
    attributes: Mapping[str, Json] = a.attributes
    if dict(a.attributes) != dict(b.attributes):
        if a.op in ("reshape", "expand", "constant"):
            attributes = {**a.attributes, "shape": _shape(a, b, lengths)}
        elif a.op == "slice":
            attributes = _slice(first, other, a, b)
        else:
            raise SizeWritten(
                f"node {a.name!r} ({a.op}): {dict(a.attributes)} at length {lengths.first}, {dict(b.attributes)} at length "
                f"{lengths.other}; such a dependence on the length is not supported, fix the length with shapes="
            )
    for role, weight in a.weights.items():
        if not _equal(weight, b.weights[role]) and not _leading(a, b):
            raise SizeWritten(
                f"node {a.name!r} ({a.op}): its {role} depends on the length; fix the length with shapes="
            )
    return replace(a, attributes=attributes)


def _shape(a: DraftNode, b: DraftNode, lengths: Lengths) -> list[Json]:
    shapes = [node.attributes["shape"] for node in (a, b)]
    assert all(isinstance(shape, list) for shape in shapes)
    sizes: list[Json] = []
    for one, two in zip(*shapes, strict=True):
        if one == two:
            sizes.append(one)
        elif (one, two) == (lengths.first, lengths.other):
            sizes.append(LENGTH)
        elif a.op == "reshape":
            sizes.append(REST)
        else:
            raise SizeWritten(
                f"node {a.name!r} ({a.op}): a size is {one} at length {lengths.first}; fix the length with shapes="
            )
    if sizes.count(REST) > 1:
        raise SizeWritten(f"node {a.name!r}: two sizes change with the length; fix the length with shapes=")
    return sizes


def _slice(first: Draft, other: Draft, a: DraftNode, b: DraftNode) -> dict[str, Json]:
    axis = a.attributes["axis"]
    assert isinstance(axis, int)
    sizes = [plain(draft.shapes[node.inputs[0]])[axis] for draft, node in ((first, a), (other, b))]
    found: dict[str, Json] = dict(a.attributes)
    for key in ("start", "stop"):
        one, two = a.attributes[key], b.attributes[key]
        assert isinstance(one, int)
        assert isinstance(two, int)
        if key == "stop" and (one, two) == (sizes[0], sizes[1]):
            found[key] = None
        elif one != two and one - sizes[0] == two - sizes[1]:
            found[key] = one - sizes[0]
        elif one != two:
            raise SizeWritten(
                f"node {a.name!r} (slice): its {key} depends on the length; fix the length with shapes="
            )
    return found


def _equal(a: Weight, b: Weight) -> bool:
    return a.values.shape == b.values.shape and np.array_equal(a.values, b.values, equal_nan=True)


def _leading(a: DraftNode, b: DraftNode) -> bool:
    """A constant at the smaller length is the beginning of that at the larger one."""
    if a.op != "constant":
        return False
    shapes: list[Sequence[int]] = []
    for node in (a, b):
        shape = node.attributes["shape"]
        assert isinstance(shape, list)
        shapes.append([size for size in shape if isinstance(size, int)])
    large, small = (
        node.weights["value"].values.reshape(shape) for node, shape in zip((a, b), shapes, strict=True)
    )
    return np.array_equal(large[tuple(slice(0, size) for size in small.shape)], small)
