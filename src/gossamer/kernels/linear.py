"""Sparse linear layers in training, batch-major: Y [N, R] = X [N, C] W^T, and with the transposed structure dX [N, C] = dY [N, R] W.

Face of the native product over tiles of 128 examples, beside its NumPy reference. float32 and float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError
from gossamer.kernels.csr import raise_for
from gossamer.kernels.native import operation
from gossamer.kernels.structure import Structure, one_float_type

Floats: TypeAlias = NDArray[np.floating[Any]]


def linear_product(places: Structure, values: Floats, x: Floats, *, isa: str = "") -> Floats:
    """[N, R] of the type of values and x; `isa` names an instruction set, "" is the best of this CPU.

    >>> from gossamer.kernels.structure import structure
    >>> places, values = structure(np.array([[True, True], [False, True]])), np.array([2.0, 3.0, 4.0])
    >>> linear_product(places, values, np.array([[1.0, 10.0]])).tolist()
    [[32.0, 40.0]]
    >>> linear_product(places.transposed(), values, np.array([[1.0, 100.0]])).tolist()
    [[2.0, 403.0]]
    """
    dtype = _check(places, values, x)
    native = cast("Callable[..., int] | None", operation("linear_product"))
    if native is None:
        return linear_product_reference(places, values, x, isa=isa)
    y = np.empty((x.shape[0], places.shape[0]), dtype)
    operand, flat = np.ascontiguousarray(x), np.ascontiguousarray(values)
    raise_for(native(flat, places.order, places.row_start, places.columns, operand, y, isa), isa)
    return y


def linear_product_reference(places: Structure, values: Floats, x: Floats, *, isa: str = "") -> Floats:
    """The same in NumPy, entry by entry in float64."""
    dtype = _check(places, values, x)
    ordered = values if places.order is None else values[places.order]
    y = np.zeros((places.shape[0], x.shape[0]))
    products = x.astype(np.float64).T[places.columns] * ordered.astype(np.float64)[:, None]
    np.add.at(y, places.rows(), products)
    return y.T.astype(dtype)


def _check(places: Structure, values: Floats, x: Floats) -> np.dtype[Any]:
    if x.ndim != 2 or x.shape[1] != places.shape[1]:
        raise FormatError(f"expected an operand of shape [N, {places.shape[1]}], got {list(x.shape)}")
    least = places.num_kept if places.order is None else int(places.order.max(initial=0)) + 1
    if values.ndim != 1 or (places.num_kept and len(values) < least):
        raise FormatError(f"expected a value for each of {least} entries, got shape {list(values.shape)}")
    return one_float_type(values, x)
