"""A free length: the dimension, beside the batch, whose size is chosen at every run.

torch.export writes lengths into the graph as numbers (a recurrent layer is captured for one length), and ONNX files are full of
computations of shapes. So a model is lowered at two lengths, without symbolic arithmetic; both must have the same nodes. A size that
differs is the length `s` where it is the length at both, else what is left (-1); slices count from the end where that agrees; constants
are those of the longer one, of which the shorter has the leading entries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gossamer.errors import ExportError
from gossamer.export.draft import Draft, DraftNode
from gossamer.export.weight import Array
from gossamer.graph.strict_json import Json

LENGTH = "s"
_TEXT = re.compile(r"(?P<dims>\w+:\d+(,\w+:\d+)*)=(?P<min>\d+)\.\.(?P<max>\d+)")


@dataclass(frozen=True, kw_only=True)
class Length:
    """dims: input name -> the dimension that has the length; from `min` to `max`.

    >>> Length.parse("ids:1,mask:1=1..512")
    Length(dims={'ids': 1, 'mask': 1}, min=1, max=512)
    """

    dims: Mapping[str, int]
    min: int = 1
    max: int

    @classmethod
    def parse(cls, text: str) -> Length:
        """`INPUT:DIMENSION[,INPUT:DIMENSION...]=MIN..MAX`, as the command line has it."""
        found = _TEXT.fullmatch(text.replace(" ", ""))
        if found is None:
            raise ExportError(
                f"length: expected INPUT:DIMENSION=MIN..MAX, such as ids:1=1..512 or ids:1,mask:1=1..512, got {text!r}"
            )
        pairs = [part.split(":") for part in found["dims"].split(",")]
        return cls(dims={name: int(dim) for name, dim in pairs}, min=int(found["min"]), max=int(found["max"]))

    def check(self, ranks: Mapping[str, int], batch_dims: Mapping[str, int]) -> None:
        """ExportError where a name or dimension is not one of the inputs'."""
        for name, dim in self.dims.items():
            if name not in ranks:
                raise ExportError(f"length: expected inputs ({', '.join(ranks)}), got {name!r}")
            if not 0 <= dim < ranks[name] or dim == batch_dims.get(name, 0):
                raise ExportError(
                    f"length: expected a dimension of {name!r} (rank {ranks[name]}) other than the batch, got {dim}"
                )
        if not 1 <= self.min <= self.max or self.max < 3:
            raise ExportError(
                f"length: expected 1 <= min <= max and max of at least 3, got {self.min}..{self.max}"
            )

    @property
    def tried(self) -> tuple[int, ...]:
        """The lengths at which a packed network is compared: the smallest, a middle one, the largest."""
        return tuple(sorted({self.min, (self.min + self.max) // 2, self.max}))


def unify(
    longer: tuple[Sequence[DraftNode], Draft],
    shorter: tuple[Sequence[DraftNode], Draft],
    lengths: tuple[int, int],
) -> list[DraftNode]:
    """The nodes for every length, from those at the largest and those at another one."""
    nodes, others = longer[0], shorter[0]
    if [(n.op, n.inputs, n.outputs) for n in nodes] != [(n.op, n.inputs, n.outputs) for n in others]:
        place = next(
            (
                a.name
                for a, b in zip(nodes, others, strict=False)
                if (a.op, a.inputs, a.outputs) != (b.op, b.inputs, b.outputs)
            ),
            "the last node",
        )
        raise ExportError(
            f"length: the model computes in another way at length {lengths[1]} than at {lengths[0]} (from {place!r} on); expected "
            f"the same operations at every length"
        )
    drafts = longer[1], shorter[1]
    return [_unified(a, b, lengths, drafts) for a, b in zip(nodes, others, strict=True)]


def _unified(
    node: DraftNode, other: DraftNode, lengths: tuple[int, int], drafts: tuple[Draft, Draft]
) -> DraftNode:
    attributes = {
        key: _attribute(node, key, value, other.attributes[key], lengths, drafts)
        for key, value in node.attributes.items()
    }
    made = replace(node, attributes=attributes)
    for role, weight in node.weights.items():
        short = other.weights[role]
        if node.op == "constant":
            _check_leading(made, weight.values, short.values, lengths)
        elif weight.values.shape != short.values.shape or not np.array_equal(weight.values, short.values):
            raise _depends(node, f"its {role}")
    return made


def _attribute(
    node: DraftNode,
    key: str,
    value: Json,
    other: Json,
    lengths: tuple[int, int],
    drafts: tuple[Draft, Draft],
) -> Json:
    if value == other:
        return value
    if key == "shape" and isinstance(value, list) and isinstance(other, list):
        sizes: list[Json] = []
        for one, two in zip(value, other, strict=True):
            sizes.append(one if one == two else LENGTH if (one, two) == lengths else -1)
        if sizes.count(-1) > (1 if node.op == "reshape" else 0):
            raise _depends(node, "a size that is a multiple of the length")
        return sizes
    if node.op == "slice" and key in ("start", "stop") and isinstance(value, int) and isinstance(other, int):
        axis = node.attributes["axis"]
        assert isinstance(axis, int)
        size, other_size = (draft.shapes[node.inputs[0]][axis] for draft in drafts)
        if isinstance(size, int) and isinstance(other_size, int) and value - size == other - other_size:
            return value - size if value != size else None
    raise _depends(node, key)


def _check_leading(node: DraftNode, longer: Array, shorter: Array, lengths: tuple[int, int]) -> None:
    shape = node.attributes["shape"]
    assert isinstance(shape, list)
    full, part = ([size if isinstance(size, int) else length for size in shape] for length in lengths)
    leading = tuple(slice(0, size) for size in part)
    if not np.array_equal(longer.reshape(full)[leading], shorter.reshape(part)):
        raise _depends(node, "a constant whose entries are others at another length")


def _depends(node: DraftNode, what: str) -> ExportError:
    return ExportError(
        f"length: node {node.name!r} ({node.op}) cannot follow the length: {what}; expected the length itself as a size, what is left "
        "of a reshape, slices from either end, and constants whose leading entries stay the same"
    )
