"""Operands of elementwise operations, brought together: ONNX aligns dimensions at the right, whatever their order in
the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gossamer.export.draft import Unsupported
from gossamer.export.onnx.scope import Scope
from gossamer.export.onnx.values import Const, Entry, Ref, Sizes


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Operands of equal rank in the network: names of values, and arrays [1, ...] in the same order of dimensions.

    like: how ONNX sees a result of the shape `shape`.
    """

    operands: tuple[str | np.ndarray, ...]
    shape: Sizes
    like: Ref

    def result(self, value: str) -> Ref:
        """The result as ONNX sees it."""
        return replace(self.like, value=value)

    def names(self, scope: Scope) -> list[str]:
        """Every operand as a value; arrays become constants."""
        return [item if isinstance(item, str) else scope.constant(item[0]) for item in self.operands]


def align(scope: Scope, entries: Sequence[Entry]) -> Aligned:
    """Bring `entries` together; at least one depends on the input."""
    rank = max(_rank(entry) for entry in entries)
    refs = [_lifted(scope, entry, rank) for entry in entries if isinstance(entry, Ref)]
    first = max(refs, key=lambda ref: len(ref.dims))
    if any(ref.order != first.order for ref in refs):
        refs = [scope.settled(ref) for ref in refs]
        first = max(refs, key=lambda ref: len(ref.dims))
    refs = [_regrouped(scope, ref, first) for ref in refs]
    rest = iter(refs)
    operands = [
        next(rest).value if isinstance(entry, Ref) else _array(entry.array, rank, first) for entry in entries
    ]
    shapes = [scope.shape(item) if isinstance(item, str) else item.shape for item in operands]
    try:
        shape = tuple(int(size) for size in np.broadcast_shapes(*shapes))
    except ValueError as error:
        raise Unsupported(
            f"operands of the shapes {' and '.join(str(list(s)) for s in shapes)}", "operands that broadcast"
        ) from error
    like = replace(first, dims=tuple(shape[place] for place in first.order))
    return Aligned(operands=tuple(operands), shape=shape, like=like)


def _rank(entry: Entry) -> int:
    return entry.rank if isinstance(entry, Ref) else entry.array.ndim


def _lifted(scope: Scope, ref: Ref, rank: int) -> Ref:
    """With dimensions of size 1 in front, until ONNX sees `rank` of them."""
    missing = rank - ref.rank
    if not missing:
        return ref
    ref = scope.settled(ref)
    dims = (1,) * missing + ref.dims
    batch = ref.batch + missing
    value = scope.as_shape(ref.value, (dims[batch], *dims[:batch], *dims[batch + 1 :]))
    order = (*range(1, batch + 1), 0, *range(batch + 1, len(dims)))
    return Ref(value=value, dims=dims, order=order, group=(ref.group[0] + missing, ref.group[1] + missing))


def _regrouped(scope: Scope, ref: Ref, first: Ref) -> Ref:
    """With the batch, and what ONNX multiplied into it, where `first` has them."""
    grouped = [slice(*one.group) for one in (ref, first)]
    if (
        ref.order == first.order
        and ref.group == first.group
        and ref.dims[grouped[0]] == first.dims[grouped[1]]
    ):
        return ref
    if ref.group[0] != first.group[0] or ref.shape[ref.group[0]] != first.shape[first.group[0]]:
        raise Unsupported(
            f"operands {list(ref.shape)} and {list(first.shape)} whose batch lies in different dimensions",
            "operands with the batch in the same dimension",
        )
    ref = scope.settled(ref)
    if ref.batch != first.batch:
        raise Unsupported("operands that multiply the batch with other sizes", "operands of the same form")
    dims = (*ref.dims[: ref.group[0]], *first.dims[grouped[1]], *ref.dims[ref.group[1] :])
    batch = first.batch
    value = scope.as_shape(ref.value, (dims[batch], *dims[:batch], *dims[batch + 1 :]))
    return Ref(value=value, dims=dims, order=first.order, group=first.group)


def _array(array: np.ndarray, rank: int, first: Ref) -> np.ndarray:
    """A constant in the order of the network's dimensions, [1, ...]."""
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    start, stop = first.group
    grouped = first.dims[start:stop]
    if array.shape[start] == 1:
        shape = (*array.shape[:start], *([1] * (stop - start)), *array.shape[start + 1 :])
    elif array.shape[start] == first.shape[start]:
        shape = (*array.shape[:start], *grouped, *array.shape[start + 1 :])
    else:
        raise Unsupported(
            f"a constant of shape {list(array.shape)} beside a value of shape {list(first.shape)}",
            "constants that are the same for every example",
        )
    ordered = array.reshape(shape).transpose(np.argsort(first.order))
    if not (ordered == ordered[:1]).all():
        raise Unsupported(
            "a constant that differs from example to example", "constants that are the same for every example"
        )
    return np.asarray(ordered[:1])


def same_for_all(array: np.ndarray, axis: int) -> Const:
    """A constant that was expanded along the batch, taken back to size 1."""
    first = array.take([0], axis=axis)
    if not (array == first).all():
        raise Unsupported(
            "a constant that differs from example to example", "constants that are the same for every example"
        )
    return Const(array=first)
