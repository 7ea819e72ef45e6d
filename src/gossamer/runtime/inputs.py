"""Checks what a caller hands to a session: names, dtypes, shapes, the free dimension."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import RuntimeFailure
from gossamer.graph import Input, Network


def prepare(
    network: Network, given: ArrayLike | Mapping[str, ArrayLike], max_batch: int | None
) -> tuple[dict[str, NDArray[np.float32]], int]:
    """C-contiguous float32 arrays by input name, and the size of the free dimension (1 where there is none)."""
    named = _by_name(network, given)
    arrays = {item.name: _checked(item, named[item.name]) for item in network.inputs}
    batch, first = 1, ""
    for item in network.inputs:
        symbol = item.shape[0]
        if not isinstance(symbol, str):
            continue
        size = arrays[item.name].shape[0]
        dim = network.dims[symbol]
        most = dim.max if max_batch is None else min(dim.max, max_batch)
        if not dim.min <= size <= most:
            why = "" if most == dim.max else f" (the session was loaded with max_batch={max_batch})"
            raise RuntimeFailure(
                f"input {item.name!r}: expected {symbol} from {dim.min} to {most}{why}, got {size}"
            )
        if first and size != batch:
            raise RuntimeFailure(
                f"input {item.name!r}: expected {symbol} = {batch} like {first!r}, got {size}"
            )
        batch, first = size, item.name
    return arrays, batch


def _by_name(network: Network, given: ArrayLike | Mapping[str, ArrayLike]) -> Mapping[str, ArrayLike]:
    names = [item.name for item in network.inputs]
    if not isinstance(given, Mapping):
        if len(names) != 1:
            raise RuntimeFailure(
                f"inputs: expected a dict of {len(names)} arrays ({', '.join(names)}), got one array"
            )
        return {names[0]: given}
    if set(given) != set(names):
        raise RuntimeFailure(f"inputs: expected the names {names}, got {sorted(str(name) for name in given)}")
    return given


def _checked(item: Input, value: ArrayLike) -> NDArray[np.float32]:
    where = f"input {item.name!r}"
    try:
        array = np.asarray(value)
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # ragged lists; torch tensors on a device or with gradients
        raise RuntimeFailure(
            f"{where}: expected an array, got {type(value).__name__} that is none: {error}"
        ) from error
    if array.dtype != np.float32:
        raise RuntimeFailure(
            f"{where}: expected float32, got {array.dtype}; convert it with x.astype(numpy.float32) "
            "(an image of bytes: gossamer.runtime.image_input(x, session.preprocessing))"
        )
    fits = array.ndim == len(item.shape) and all(
        isinstance(size, str) or size == found for size, found in zip(item.shape, array.shape, strict=True)
    )
    if not fits:
        text = ", ".join(str(size) for size in item.shape)
        raise RuntimeFailure(f"{where}: expected the shape [{text}], got {list(array.shape)}")
    return np.ascontiguousarray(array, dtype=np.float32)
