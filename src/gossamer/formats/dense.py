"""`dense`: every value, row-major; -0 where a matrix has no weight. Vectors always, matrices where little was pruned.
docs/formats/dense.md."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError
from gossamer.formats.matrix import Bools, Bytes, Floats, Ints, PackedMatrix

NAME = "dense"
PARAMETERS: tuple[str, ...] = ()
PARTS: tuple[str, ...] = ("values",)


def check(shape: tuple[int, ...], parameters: Mapping[str, int]) -> None:
    """Any shape will do."""


def encode(values: Floats, mask: Bools, parameters: Mapping[str, int]) -> tuple[Floats, dict[str, Bytes]]:
    """All values; `mark` tells what the mask drops."""
    return np.where(mask, values, np.float32(0)), {}


def mark(stored: NDArray[np.floating], mask: Bools) -> NDArray[np.floating]:
    """Values in the dtype of the file: a kept zero is +0 (also one that was too small for float16), an absent weight -0."""
    return np.where(mask, np.where(stored == 0, 0.0, stored), -0.0).astype(stored.dtype)


def decode(packed: PackedMatrix) -> Ints:
    """Every slot."""
    found = packed.parts["values"].shape
    if found != packed.shape:
        raise FormatError(f"values: expected the shape {list(packed.shape)}, got {list(found)}")
    return np.arange(packed.parts["values"].size, dtype=np.int64).reshape(found)


def index_bytes(shape: tuple[int, ...], num_kept: int, parameters: Mapping[str, int]) -> float:
    """None."""
    return 0.0
