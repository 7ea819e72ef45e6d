"""`block`: whole blocks of r x c, one gap byte a block. docs/formats/block.md."""

from collections.abc import Mapping
from math import prod

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.bits import decode_gaps, encode_gaps, expected_gap_bytes
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


def encode(kept: Kept, parameters: Mapping[str, int]) -> tuple[Array, dict[str, Bytes]]:
    """Kept blocks in row-major order of blocks, each row-major."""
    r, c = parameters["rows"], parameters["columns"]
    row, column = np.divmod(kept.listed, kept.shape[1])
    across = kept.shape[1] // c
    key = ((row // r * across + column // c) * r + row % r) * c + column % c
    order = np.argsort(key, kind="stable")
    blocks, counts = runs(key[order] // (r * c))
    partial = np.flatnonzero(counts != r * c)
    if partial.size:
        first = blocks[partial[0]]
        raise FormatError(
            f"block:{r}x{c}: expected whole blocks, got one kept in part at row {first // across * r}, "
            f"column {first % across * c}"
        )
    total = prod(kept.shape) // (r * c)
    return kept.values[order].reshape(-1, r, c), {"gaps": encode_gaps(blocks, total=total, step=1)}


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
