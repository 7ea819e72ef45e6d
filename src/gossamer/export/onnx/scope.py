"""What the lowering of a node may use: its inputs, and a draft to append to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from gossamer.export.draft import Draft, Unsupported
from gossamer.export.draft import plain as plain_sizes
from gossamer.export.onnx.reader import OnnxNode
from gossamer.export.onnx.values import Const, Entry, Ref, Sizes, plain, reshaped_dims
from gossamer.export.weight import Weight
from gossamer.graph.strict_json import Json

FLOAT32_MAX = float(np.finfo(np.float32).max)


class Scope:
    """The draft with what all nodes share. batch: the size of this walk; written: the one that the file
    is fixed to, None where it is free; anchor: a value that gives constants their batch."""

    def __init__(self, batch: int, written: int | None = None) -> None:
        self.draft = Draft()
        self.batch = batch
        self.written = written
        self.anchor = ""
        self.whole: set[str] = set()  # values that are whole numbers
        self.truths: set[str] = set()  # values that ONNX calls bool
        self.vocabularies: dict[str, int] = {}  # rows of the table that a value chooses from
        self._settled: dict[tuple[str, tuple[int, ...]], str] = {}

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Sizes,
        attributes: Mapping[str, Json] | None = None,
        weights: Mapping[str, Weight] | None = None,
        name: str | None = None,
    ) -> str:
        """Append a node whose value has `shape` (batch first)."""
        return self.draft.emit(op, inputs, shape, attributes=attributes, weights=weights, name=name)

    def emit_many(
        self,
        op: str,
        inputs: Sequence[str],
        shapes: Sequence[Sizes],
        attributes: Mapping[str, Json] | None = None,
        weights: Mapping[str, Weight] | None = None,
    ) -> tuple[str, ...]:
        """The same for a node with several values."""
        return self.draft.emit_many(op, inputs, shapes, attributes=attributes, weights=weights)

    def shape(self, value: str) -> Sizes:
        """Shape of a value of the draft."""
        return tuple(plain_sizes(self.draft.shapes[value]))

    def settled(self, ref: Ref) -> Ref:
        """The same with the dimensions behind the batch in ONNX's order."""
        places = [place for place in ref.order if place]
        if places == sorted(places):
            return ref
        key = (ref.value, tuple(places))
        if key not in self._settled:
            shape = self.shape(ref.value)
            self._settled[key] = self.emit(
                "permute",
                [ref.value],
                (shape[0], *(shape[place] for place in places)),
                {"order": [*places]},
                name=f"{ref.value}.permute",
            )
        rest = iter(range(1, len(ref.dims)))
        order = tuple(next(rest) if place else 0 for place in ref.order)
        return replace(ref, value=self._settled[key], order=order)

    def plain(self, ref: Ref, *ranks: int) -> str:
        """Name of a value that the network has as ONNX sees it, batch first."""
        if ref.group[1] - ref.group[0] != 1 or ref.batch != 0 or (ranks and ref.rank not in ranks):
            wanted = f"rank {' or '.join(map(str, ranks))}, batch first" if ranks else "the batch first"
            raise Unsupported(
                f"a value of shape {list(ref.shape)}", f"{wanted}, and nothing multiplied into the batch"
            )
        return self.settled(ref).value

    def reshape(self, ref: Ref, target: Sizes) -> Ref:
        """ONNX's Reshape."""
        if target == ref.shape:
            return ref
        ref = self.settled(ref)
        dims, batch, group = reshaped_dims(ref, target)
        value = self.as_shape(ref.value, (dims[batch], *dims[:batch], *dims[batch + 1 :]))
        order = (*range(1, batch + 1), 0, *range(batch + 1, len(dims)))
        return Ref(value=value, dims=dims, order=order, group=group)

    def as_shape(self, value: str, shape: Sizes) -> str:
        """A draft's value in another shape (batch first)."""
        if self.shape(value) == shape:
            return value
        return self.emit("reshape", [value], shape, {"shape": list(shape[1:])}, name=f"{value}.reshape")

    def constant(self, array: np.ndarray, name: str | None = None) -> str:
        """A value [N, ...] that is the same for every example; array: [...]."""
        values = np.clip(np.asarray(array, np.float64), -FLOAT32_MAX, FLOAT32_MAX)
        unique = self.draft.fresh_name(name or f"{self.draft.current}.constant")
        weight = Weight(name=unique, values=values.reshape(-1), of_model=name is not None)
        return self.draft.emit(
            "constant",
            [self.anchor],
            (self.batch, *values.shape),
            attributes={"shape": list(values.shape)},
            weights={"value": weight},
            reserved=unique,
        )


@dataclass(frozen=True, kw_only=True)
class Call:
    """One node with its inputs: values, constants, None where one is left out."""

    node: OnnxNode
    inputs: tuple[Entry | None, ...]
    opset: int
    scope: Scope

    @property
    def op(self) -> str:
        """The operator's name."""
        return self.node.op

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.node.get(name, default)

    def given(self, index: int) -> Entry | None:
        """An input, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def ref(self, index: int = 0) -> Ref:
        """An input that depends on the network's input."""
        found = self.given(index)
        if isinstance(found, Ref):
            return found
        raise Unsupported(
            f"{self.op} of a constant as input {index}", f"{self.op} of a value that depends on the input"
        )

    def const(self, index: int, what: str) -> np.ndarray | None:
        """A constant input; None where it is left out."""
        found = self.named(index, what)
        return None if found is None else found.array

    def named(self, index: int, what: str) -> Const | None:
        """A constant input with its name."""
        found = self.given(index)
        if isinstance(found, Ref):
            raise Unsupported(
                f"{self.op} whose {what} depends on the input", f"{self.op} with a constant {what}"
            )
        return found

    def needed(self, index: int, what: str) -> Const:
        """A constant input that must be there."""
        found = self.named(index, what)
        if found is None:
            raise Unsupported(f"{self.op} without {what}", f"{self.op} with a constant {what}")
        return found

    def integers(self, index: int, attribute: str) -> list[int] | None:
        """A list of integers that is an attribute in old opsets and a constant input in new ones."""
        found = self.get(attribute)
        if found is not None:
            return [int(item) for item in ([found] if isinstance(found, int) else found)]
        array = self.const(index, attribute)
        return None if array is None else [int(item) for item in array.reshape(-1)]

    def number(self, index: int, attribute: str, default: float | None) -> float | None:
        """A number that is an attribute in old opsets and a constant input in new ones."""
        if self.get(attribute) is not None:
            return float(self.get(attribute))
        array = self.const(index, attribute)
        return default if array is None or array.size == 0 else float(array.reshape(-1)[0])

    def like(self, ref: Ref, op: str, attributes: Mapping[str, Json] | None = None) -> Ref:
        """Emit an operator that works on each number alone: the order of dimensions does not matter."""
        shape = self.scope.shape(ref.value)
        return replace(ref, value=self.scope.emit(op, [ref.value], shape, attributes))


Result = Entry | tuple[Entry | None, ...]
Lowering = Callable[[Call], Result]


def weight_name(const: Const, call: Call, role: str = "weight") -> str:
    """Name of a weight: that of the initializer, else one made of the node's."""
    return const.name or f"{call.node.name}.{role}"


def float_array(array: np.ndarray) -> np.ndarray:
    """float32, or float64 where it is that."""
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


__all__ = [
    "Call",
    "Const",
    "Entry",
    "Lowering",
    "Ref",
    "Result",
    "Scope",
    "float_array",
    "plain",
    "prod",
    "weight_name",
]
