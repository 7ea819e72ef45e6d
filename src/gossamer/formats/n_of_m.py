"""`n_of_m`: exactly n entries in every m consecutive columns. docs/formats/n-of-m.md."""

from collections.abc import Mapping
from math import prod

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.bits import pack_bits, unpack_bits, width_of
from gossamer.formats.matrix import (
    Array,
    Bytes,
    Ints,
    Kept,
    PackedMatrix,
    bounds,
    bytes_part,
    must_divide,
    runs,
    values_shape,
)  # fmt: skip

NAME = "n_of_m"
PARAMETERS: tuple[str, ...] = ("n", "m")
PARTS: tuple[str, ...] = ("values", "positions")


def check(shape: tuple[int, ...], parameters: Mapping[str, int]) -> None:
    """Groups tile the rows."""
    bounds(2, parameters["m"], 256, "n_of_m m")
    bounds(1, parameters["n"], parameters["m"], "n_of_m n")
    must_divide(parameters["m"], shape[1], "n_of_m columns")


def encode(kept: Kept, parameters: Mapping[str, int]) -> tuple[Array, dict[str, Bytes]]:
    """Kept values in row-major order and their positions inside the groups."""
    n, m = parameters["n"], parameters["m"]
    slots, groups = kept.listed, prod(kept.shape) // m
    found, counts = runs(slots // m)
    if found.size != groups or (counts != n).any():
        wrong = np.flatnonzero((found != np.arange(found.size)) | (counts != n))
        group = int(wrong[0]) if wrong.size else found.size
        count = counts[group] if group < found.size and found[group] == group else 0
        row, place = divmod(group, kept.shape[1] // m)
        raise FormatError(
            f"{n}:{m}: expected {n} kept in every group, got {count} in row {row}, group {place}"
        )
    return kept.values, {"positions": pack_bits(slots % m, width_of(m))}


def decode(packed: PackedMatrix) -> Ints:
    """Slots in the order of the values."""
    n, m = packed.parameters["n"], packed.parameters["m"]
    (count,) = values_shape(packed, 1)
    groups = packed.shape[0] * (packed.shape[1] // m)
    if count != groups * n:
        raise FormatError(f"values: expected {groups * n} ({n} in each of {groups} groups), got {count}")
    positions = unpack_bits(bytes_part(packed, "positions"), count, width_of(m), "positions").reshape(
        groups, n
    )
    wrong = np.flatnonzero((np.diff(positions, axis=1) <= 0).any(axis=1) | (positions[:, -1] >= m))
    if wrong.size:
        found = positions[wrong[0]].tolist()
        raise FormatError(
            f"positions: expected increasing numbers below {m}, got {found} in group {wrong[0]}"
        )
    return (positions + np.arange(groups, dtype=np.int64)[:, None] * m).ravel()


def index_bytes(shape: tuple[int, ...], num_kept: int, parameters: Mapping[str, int]) -> float:
    """The positions."""
    return num_kept * width_of(parameters["m"]) / 8
