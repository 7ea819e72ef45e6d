"""`block`: whole blocks of r x c, one gap byte a block. docs/formats/block.md."""

from collections.abc import Mapping
from math import prod

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.bits import decode_gaps, encode_gaps, expected_gap_bytes
from gossamer.formats.matrix import (
    Bools,
    Bytes,
    Floats,
    Ints,
    PackedMatrix,
    bounds,
    bytes_part,
    must_divide,
    values_shape,
)  # fmt: skip

NAME = "block"
PARAMETERS: tuple[str, ...] = ("rows", "columns")
PARTS: tuple[str, ...] = ("values", "gaps")


def check(shape: tuple[int, ...], parameters: Mapping[str, int]) -> None:
    """Blocks tile the matrix."""
    bounds(1, parameters["rows"], 64, "block rows")
    bounds(1, parameters["columns"], 64, "block columns")
    if parameters["rows"] * parameters["columns"] < 2:
        raise FormatError("block: expected at least 2 values a block, got 1x1; use unstructured")
    must_divide(parameters["rows"], shape[0], "block rows")
    must_divide(parameters["columns"], shape[1], "block columns")


def encode(values: Floats, mask: Bools, parameters: Mapping[str, int]) -> tuple[Floats, dict[str, Bytes]]:
    """Kept blocks in row-major order of blocks, each row-major."""
    r, c = parameters["rows"], parameters["columns"]
    kept, tiles = _tiles(mask, r, c), _tiles(values, r, c)
    blocks = kept.all(axis=(1, 2))
    partial = np.flatnonzero(kept.any(axis=(1, 2)) & ~blocks)
    if partial.size:
        across = mask.shape[1] // c
        raise FormatError(
            f"block:{r}x{c}: expected whole blocks, got one kept in part at row {partial[0] // across * r}, "
            f"column {partial[0] % across * c}"
        )
    slots = np.flatnonzero(blocks)
    return tiles[slots], {"gaps": encode_gaps(slots, total=blocks.size, step=1)}


def decode(packed: PackedMatrix) -> Ints:
    """Slots in the order of the values."""
    r, c = packed.parameters["rows"], packed.parameters["columns"]
    count = values_shape(packed, 3, r, c)[0]
    rows, columns = packed.shape
    blocks = decode_gaps(bytes_part(packed, "gaps"), total=(rows // r) * (columns // c), step=1)
    if blocks.size != count:
        raise FormatError(f"gaps: expected {count} blocks, got {blocks.size}")
    corner = blocks // (columns // c) * (r * columns) + blocks % (columns // c) * c
    inside = np.arange(r, dtype=np.int64)[:, None] * columns + np.arange(c, dtype=np.int64)
    return corner[:, None, None] + inside


def index_bytes(shape: tuple[int, ...], num_kept: int, parameters: Mapping[str, int]) -> float:
    """One gap byte a block, and more where gaps are long."""
    size = parameters["rows"] * parameters["columns"]
    return expected_gap_bytes(num_kept // size, total=prod(shape) // size, step=1)


def _tiles(matrix: np.ndarray[tuple[int, ...], np.dtype[np.generic]], r: int, c: int):  # type: ignore[no-untyped-def]
    rows, columns = matrix.shape
    return matrix.reshape(rows // r, r, columns // c, c).swapaxes(1, 2).reshape(-1, r, c)
