"""`unstructured`: any mask, one gap byte an entry. docs/formats/unstructured.md.

>>> import numpy as np
>>> values, parts = encode(Kept((2, 3), np.array([0, 4]), np.array([1, 5], np.float32)), {})
>>> values, parts["gaps"]
(array([1., 5.], dtype=float32), array([0, 3], dtype=uint8))
"""

from collections.abc import Mapping
from math import prod

from gossamer.errors import FormatError
from gossamer.formats.bits import decode_gaps, encode_gaps, expected_gap_bytes
from gossamer.formats.matrix import Array, Bytes, Ints, Kept, PackedMatrix, bytes_part, values_shape

NAME = "unstructured"
PARAMETERS: tuple[str, ...] = ()
PARTS: tuple[str, ...] = ("values", "gaps")


def check(shape: tuple[int, ...], parameters: Mapping[str, int]) -> None:
    """Any matrix will do."""


def encode(kept: Kept, parameters: Mapping[str, int]) -> tuple[Array, dict[str, Bytes]]:
    """Kept values in row-major order and the gaps between them."""
    return kept.values, {"gaps": encode_gaps(kept.listed, total=prod(kept.shape), step=1)}


def decode(packed: PackedMatrix) -> Ints:
    """Slots in the order of the values."""
    (count,) = values_shape(packed, 1)
    slots = decode_gaps(bytes_part(packed, "gaps"), total=prod(packed.shape), step=1)
    if slots.size != count:
        raise FormatError(f"gaps: expected {count} entries (one a value), got {slots.size}")
    return slots


def index_bytes(shape: tuple[int, ...], num_kept: int, parameters: Mapping[str, int]) -> float:
    """One gap byte an entry, and more where gaps are long."""
    return expected_gap_bytes(num_kept, total=prod(shape), step=1)
