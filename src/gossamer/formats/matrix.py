"""The compact form of one weight: a few arrays, whatever the format. Its on-disk form is the same bytes.

Letters: R, C = rows and columns; an *entry* is a kept position (row, column), its *slot* the number row·C + column.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FormatError

Array: TypeAlias = NDArray[np.generic]
Floats: TypeAlias = NDArray[np.float32]
Bools: TypeAlias = NDArray[np.bool_]
Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]

MAX_SIZE = 2**31 - 1
MAX_CELLS = 2**40
DTYPES: dict[str, type[np.floating]] = {"float32": np.float32, "float16": np.float16}


@dataclass(frozen=True)
class PackedMatrix:
    """A vector [n] or matrix [R, C]. `parts["values"]` has `dtype`, every other part is uint8."""

    format: str
    shape: tuple[int, ...]
    dtype: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Array] = field(default_factory=dict)

    @property
    def present(self) -> Bools:
        """Which of the stored values are kept weights, in their shape: all but the -0 of a `dense` matrix."""
        values = self.parts["values"].astype(np.float32)
        if self.format != "dense" or len(self.shape) == 1:
            return np.ones(values.shape, dtype=np.bool_)
        present: Bools = np.logical_or(values != 0, ~np.signbit(values))
        return present

    @property
    def num_kept(self) -> int:
        """Kept weights, zeros among them included."""
        return int(np.count_nonzero(self.present))

    @property
    def nbytes(self) -> int:
        """Bytes of all parts, in memory and on disk."""
        return sum(part.nbytes for part in self.parts.values())


@dataclass(frozen=True)
class Kept:
    """The kept entries of a vector [n] or matrix [R, C]: slots [k] int64, ascending (None: every slot is kept), and their values [k].

    >>> Kept((2, 3), None, np.zeros(6)).listed
    array([0, 1, 2, 3, 4, 5])
    """

    shape: tuple[int, ...]
    slots: Ints | None
    values: Array

    @property
    def listed(self) -> Ints:
        """The slots, written out where all are kept."""
        return np.arange(prod(self.shape), dtype=np.int64) if self.slots is None else self.slots


class Format(Protocol):
    """What a format's module has. All but `check` may assume that `check` passed.

    `check(shape, parameters)`: FormatError where a matrix of that shape cannot be stored. `encode(kept, parameters)`: the values in the
    order and shape in which they are stored, and all other parts, in memory for the entries and the parts, not for the matrix (but for
    `dense`); FormatError where the slots are not the format's.
    `decode(packed)`: the slots of the values, in their shape; FormatError where a part is malformed. `index_bytes(shape, num_kept,
    parameters)`: bytes of all parts but the values, exact or expected for a random mask.
    """

    NAME: str
    PARAMETERS: tuple[str, ...]
    PARTS: tuple[str, ...]
    check: Callable[[tuple[int, ...], Mapping[str, int]], None]
    encode: Callable[[Kept, Mapping[str, int]], tuple[Array, dict[str, Bytes]]]
    decode: Callable[[PackedMatrix], Ints]
    index_bytes: Callable[[tuple[int, ...], int, Mapping[str, int]], float]


def bytes_part(packed: PackedMatrix, name: str) -> Bytes:
    """A part of bytes, whose dtype and rank were checked."""
    part = packed.parts[name]
    assert part.dtype == np.uint8
    return part.view(np.uint8)


def values_shape(packed: PackedMatrix, rank: int, *tail: int) -> tuple[int, ...]:
    """Shape of the part `values`, which must have `rank` and end with the sizes `tail`."""
    shape = packed.parts["values"].shape
    if len(shape) != rank or shape[rank - len(tail) :] != tail:
        text = ", ".join(["n"] * (rank - len(tail)) + [str(size) for size in tail])
        raise FormatError(f"values: expected the shape [{text}], got {list(shape)}")
    return shape


def bounds(low: int, value: int, high: int, what: str) -> None:
    """FormatError unless low <= value <= high."""
    if not low <= value <= high:
        raise FormatError(f"{what}: expected {low if low == high else f'{low} to {high}'}, got {value}")


def runs(keys: Ints) -> tuple[Ints, Ints]:
    """The different numbers of an ascending array, and how often each stands there.

    >>> runs(np.array([0, 0, 3]))
    (array([0, 3]), array([2, 1]))
    """
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[first], np.diff(first, append=keys.size)


def must_divide(divisor: int, size: int, what: str) -> None:
    """FormatError unless `divisor` divides `size`."""
    if size % divisor:
        raise FormatError(f"{what}: expected {divisor} to divide {size}, got the rest {size % divisor}")
