"""Checks what a caller hands to a session: names, dtypes, shapes, the free dimensions."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import RuntimeFailure
from gossamer.graph import Input, Network

HINTS = {
    "float32": "x.astype(numpy.float32) (an image of bytes: gossamer.runtime.image_input(x, session.preprocessing))",
    "int64": "x.astype(numpy.int64)",
}


def prepare(
    network: Network, given: ArrayLike | Mapping[str, ArrayLike], max_batch: int | None
) -> tuple[dict[str, NDArray[np.generic]], int, int]:
    """C-contiguous arrays by input name, the batch (1 where it is not free) and the length (0 where there is none).

    Inputs that are states may be missing: the session has kept them.
    """
    named = _by_name(network, given)
    arrays = {item.name: _checked(item, named[item.name]) for item in network.inputs if item.name in named}
    sizes: dict[str, tuple[int, str]] = {}
    for item in network.inputs:
        if item.name not in arrays:
            continue
        for symbol, size in zip(item.shape, arrays[item.name].shape, strict=True):
            if isinstance(symbol, str):
                _check_size(network, item, symbol, size, max_batch)
                before, first = sizes.setdefault(symbol, (size, item.name))
                if size != before:
                    raise RuntimeFailure(
                        f"input {item.name!r}: expected {symbol} = {before} like {first!r}, got {size}"
                    )
    batch, length = (
        sizes.get(symbol or "", (none, ""))[0] for symbol, none in ((network.batch, 1), (network.length, 0))
    )
    return arrays, batch, length


def _check_size(network: Network, item: Input, symbol: str, size: int, max_batch: int | None) -> None:
    dim, why = network.dims[symbol], ""
    most = dim.max
    if symbol == network.batch and max_batch is not None and max_batch < most:
        most, why = max_batch, f" (the session was loaded with max_batch={max_batch})"
    if not dim.min <= size <= most:
        raise RuntimeFailure(
            f"input {item.name!r}: expected {symbol} from {dim.min} to {most}{why}, got {size}"
        )


def _by_name(network: Network, given: ArrayLike | Mapping[str, ArrayLike]) -> Mapping[str, ArrayLike]:
    kept = {state.input for state in network.states}
    names = [item.name for item in network.inputs]
    needed = [name for name in names if name not in kept]
    if not isinstance(given, Mapping):
        if len(needed) != 1:
            raise RuntimeFailure(
                f"inputs: expected a dict of {len(needed)} arrays ({', '.join(needed)}), got one array"
            )
        return {needed[0]: given}
    if not set(needed) <= set(given) <= set(names):
        more = f" (and perhaps the states {sorted(kept)})" if kept else ""
        raise RuntimeFailure(
            f"inputs: expected the names {needed}{more}, got {sorted(str(name) for name in given)}"
        )
    return given


def _checked(item: Input, value: ArrayLike) -> NDArray[np.generic]:
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
    if array.dtype != item.dtype:
        raise RuntimeFailure(
            f"{where}: expected {item.dtype}, got {array.dtype}; convert it with {HINTS[item.dtype]}"
        )
    fits = array.ndim == len(item.shape) and all(
        isinstance(size, str) or size == found for size, found in zip(item.shape, array.shape, strict=True)
    )
    if not fits:
        text = ", ".join(str(size) for size in item.shape)
        raise RuntimeFailure(f"{where}: expected the shape [{text}], got {list(array.shape)}")
    return np.ascontiguousarray(array, dtype=item.dtype)
