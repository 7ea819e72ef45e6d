"""Products of training where operands lie at constant distances: convolutions over flat padded planes.

A convolution with stride 1 over padded planes is Y[r, f] = sum over kept entries of w x[offset + f], with one offset an entry (channel
plane plus tap), for all lanes f of the output (docs/concepts/runtime.md draws the planes). Its input gradient is the same product over the
entries by channel, with offsets into padded planes of dY; its weight gradient sums dY[r, f] x[offset + f] over the lanes.

Faces of the native products, beside their NumPy references. float32 and float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError
from gossamer.kernels.csr import raise_for
from gossamer.kernels.native import operation
from gossamer.kernels.structure import one_float_type

Floats: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class LaneStructure:
    """Entries by row with the offset of their operand; entry i has the value values[order[i]], without an order values[i]."""

    row_start: NDArray[np.uint32]  # [R + 1]
    offsets: NDArray[np.uint32]  # [nnz]
    order: NDArray[np.uint32] | None = None  # [nnz]

    def __post_init__(self) -> None:
        starts = self.row_start.astype(np.int64)
        if (
            len(starts) < 1
            or starts[0] != 0
            or starts[-1] != len(self.offsets)
            or np.any(np.diff(starts) < 0)
        ):
            raise FormatError(f"expected row starts that ascend from 0 to {len(self.offsets)}, got {starts}")
        if self.order is not None and len(self.order) != len(self.offsets):
            raise FormatError(f"expected an order of {len(self.offsets)} entries, got {len(self.order)}")

    def rows(self) -> NDArray[np.int64]:
        starts = self.row_start.astype(np.int64)
        return np.repeat(np.arange(len(starts) - 1), starts[1:] - starts[:-1])

    def reads(self, lanes: int) -> int:
        """Elements of x that `lanes` lanes touch."""
        return int(self.offsets.max(initial=0)) + lanes if len(self.offsets) else lanes


def lanes_product(places: LaneStructure, values: Floats, x: Floats, lanes: int, *, isa: str = "") -> Floats:
    """[R, lanes] for flat x; `isa` as in `linear_product`.

    >>> places = LaneStructure(row_start=np.array([0, 2], np.uint32), offsets=np.array([0, 3], np.uint32))
    >>> lanes_product(places, np.array([1.0, 10.0]), np.arange(5.0), 2).tolist()
    [[30.0, 41.0]]
    """
    dtype = _check(places, x, lanes)
    least = len(places.offsets) if places.order is None else int(places.order.max(initial=0)) + 1
    if values.ndim != 1 or len(values) < least or values.dtype != dtype:
        raise FormatError(f"expected {least} values of {dtype}, got {values.dtype} {list(values.shape)}")
    native = cast("Callable[..., int] | None", operation("lanes_product"))
    if native is None:
        return lanes_product_reference(places, values, x, lanes, isa=isa)
    y = np.empty((len(places.row_start) - 1, lanes), dtype)
    flat, operand = np.ascontiguousarray(values), np.ascontiguousarray(x)
    raise_for(native(flat, places.order, places.row_start, places.offsets, operand, y, isa), isa)
    return y


def lanes_product_reference(
    places: LaneStructure, values: Floats, x: Floats, lanes: int, *, isa: str = ""
) -> Floats:
    """The same in NumPy, in float64."""
    dtype = _check(places, x, lanes)
    ordered = values[: len(places.offsets)] if places.order is None else values[places.order]
    read = x.astype(np.float64)[places.offsets.astype(np.int64)[:, None] + np.arange(lanes)]
    y = np.zeros((len(places.row_start) - 1, lanes))
    np.add.at(y, places.rows(), read * ordered.astype(np.float64)[:, None])
    return y.astype(dtype)


def lanes_sddmm(places: LaneStructure, dy: Floats, x: Floats, *, isa: str = "") -> Floats:
    """[nnz] for dy [R, lanes] and flat x.

    >>> places = LaneStructure(row_start=np.array([0, 2], np.uint32), offsets=np.array([0, 3], np.uint32))
    >>> lanes_sddmm(places, np.array([[1.0, 10.0]]), np.arange(5.0)).tolist()
    [10.0, 43.0]
    """
    dtype = _check_gradient(places, dy, x)
    native = cast("Callable[..., int] | None", operation("lanes_sddmm"))
    if native is None:
        return lanes_sddmm_reference(places, dy, x, isa=isa)
    gradient = np.zeros(len(places.offsets), dtype)
    left, operand = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    raise_for(native(places.row_start, places.offsets, left, operand, gradient, isa), isa)
    return gradient


def lanes_sddmm_reference(places: LaneStructure, dy: Floats, x: Floats, *, isa: str = "") -> Floats:
    """The same in NumPy, in float64."""
    dtype = _check_gradient(places, dy, x)
    read = x.astype(np.float64)[places.offsets.astype(np.int64)[:, None] + np.arange(dy.shape[1])]
    gradient: Floats = (dy.astype(np.float64)[places.rows()] * read).sum(axis=1).astype(dtype)
    return gradient


def _check(places: LaneStructure, x: Floats, lanes: int) -> np.dtype[Any]:
    if x.ndim != 1 or lanes < 1 or len(x) < places.reads(lanes):
        raise FormatError(
            f"expected a flat operand of at least {places.reads(max(lanes, 1))} elements and a lane, got shape "
            f"{list(x.shape)} and {lanes} lanes"
        )
    return one_float_type(x)


def _check_gradient(places: LaneStructure, dy: Floats, x: Floats) -> np.dtype[Any]:
    if dy.ndim != 2 or dy.shape[0] != len(places.row_start) - 1 or dy.shape[1] < 1:
        raise FormatError(f"expected gradients [{len(places.row_start) - 1}, lanes], got {list(dy.shape)}")
    _check(places, x, dy.shape[1])
    return one_float_type(dy, x)
