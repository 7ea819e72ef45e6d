"""`dense`: every value, row-major. Vectors always, matrices where nothing was pruned. docs/formats/dense.md."""

from collections.abc import Mapping

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.matrix import Bools, Bytes, Floats, Ints, PackedMatrix

NAME = "dense"
PARAMETERS: tuple[str, ...] = ()
PARTS: tuple[str, ...] = ("values",)


def check(shape: tuple[int, ...], parameters: Mapping[str, int]) -> None:
    """Any shape will do."""


def encode(values: Floats, mask: Bools, parameters: Mapping[str, int]) -> tuple[Floats, dict[str, Bytes]]:
    """All values; what the mask drops is written as 0."""
    return np.where(mask, values, np.float32(0)), {}


def decode(packed: PackedMatrix) -> Ints:
    """Every slot."""
    found = packed.parts["values"].shape
    if found != packed.shape:
        raise FormatError(f"values: expected the shape {list(packed.shape)}, got {list(found)}")
    return np.arange(packed.parts["values"].size, dtype=np.int64)


def index_bytes(shape: tuple[int, ...], num_kept: int, parameters: Mapping[str, int]) -> float:
    """None."""
    return 0.0
