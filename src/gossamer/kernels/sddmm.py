"""The gradient of kept weights of a linear layer: dW[r, c] = sum over n of dY[n, r] X[n, c], at kept entries only (SDDMM).

Face of the native product, beside its NumPy reference. float32 and float64.
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


def sddmm(places: Structure, dy: Floats, x: Floats, *, isa: str = "") -> Floats:
    """[nnz] in the order of the entries, for dy [N, R] and x [N, C]; `isa` as in `linear_product`.

    >>> from gossamer.kernels.structure import structure
    >>> places = structure(np.array([[True, False], [True, True]]))
    >>> sddmm(places, np.array([[1.0, 10.0]]), np.array([[2.0, 3.0]])).tolist()
    [2.0, 20.0, 30.0]
    """
    dtype = _check(places, dy, x)
    native = cast("Callable[..., int] | None", operation("linear_sddmm"))
    if native is None:
        return sddmm_reference(places, dy, x, isa=isa)
    gradient = np.empty(places.num_kept, dtype)
    left, right = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    raise_for(native(places.row_start, places.columns, left, right, gradient, isa), isa)
    return gradient


def sddmm_reference(places: Structure, dy: Floats, x: Floats, *, isa: str = "") -> Floats:
    """The same in NumPy, in float64."""
    dtype = _check(places, dy, x)
    left, right = dy.astype(np.float64)[:, places.rows()], x.astype(np.float64)[:, places.columns]
    gradient: Floats = (left * right).sum(axis=0).astype(dtype)
    return gradient


def _check(places: Structure, dy: Floats, x: Floats) -> np.dtype[Any]:
    rows, width = places.shape
    if dy.ndim != 2 or x.ndim != 2 or dy.shape != (x.shape[0], rows) or x.shape[1] != width:
        raise FormatError(
            f"expected gradients [N, {rows}] and inputs [N, {width}], got {list(dy.shape)} and {list(x.shape)}"
        )
    if places.order is not None:
        raise FormatError(
            "expected a structure by row, got a transposed one; its gradient is that of the first"
        )
    return one_float_type(dy, x)
