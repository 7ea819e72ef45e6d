"""`dense`: every value, row-major; -0 where a matrix has no weight. Vectors always, matrices where little was pruned.
docs/formats/dense.md."""

from collections.abc import Mapping
from math import prod

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.matrix import Array, Bytes, Ints, Kept, PackedMatrix

NAME = "dense"
PARAMETERS: tuple[str, ...] = ()
PARTS: tuple[str, ...] = ("values",)


def check(shape: tuple[int, ...], parameters: Mapping[str, int]) -> None:
    """Any shape will do."""


def encode(kept: Kept, parameters: Mapping[str, int]) -> tuple[Array, dict[str, Bytes]]:
    """All values: 0 where a vector has none, -0 where a matrix has none; a kept zero of a matrix is +0 (also one that was too small for
    float16)."""
    values = kept.values
    if len(kept.shape) == 2:
        values = np.where(values == 0, values.dtype.type(0), values)
    if kept.slots is None:
        return values.reshape(kept.shape), {}
    whole = np.full(prod(kept.shape), 0.0 if len(kept.shape) == 1 else -0.0, values.dtype)
    whole[kept.slots] = values
    return whole.reshape(kept.shape), {}


def decode(packed: PackedMatrix) -> Ints:
    """Every slot."""
    found = packed.parts["values"].shape
    if found != packed.shape:
        raise FormatError(f"values: expected the shape {list(packed.shape)}, got {list(found)}")
    return np.arange(packed.parts["values"].size, dtype=np.int64).reshape(found)


def index_bytes(shape: tuple[int, ...], num_kept: int, parameters: Mapping[str, int]) -> float:
    """None."""
    return 0.0
