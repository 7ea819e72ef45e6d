"""`window`: 8 rows share an aligned window of 8 columns; in a bundle each row picks one column. docs/formats/window.md."""

from collections.abc import Mapping
from math import prod

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.bits import decode_gaps, encode_gaps, expected_gap_bytes, pack_bits, unpack_bits
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

NAME = "window"
PARAMETERS: tuple[str, ...] = ("width",)
PARTS: tuple[str, ...] = ("values", "gaps", "lanes")
WIDTH = 8


def check(shape: tuple[int, ...], parameters: Mapping[str, int]) -> None:
    """Windows of 8 x 8 tile the matrix."""
    bounds(WIDTH, parameters["width"], WIDTH, "window width")
    must_divide(WIDTH, shape[0], "window rows")
    must_divide(WIDTH, shape[1], "window columns")


def encode(values: Floats, mask: Bools, parameters: Mapping[str, int]) -> tuple[Floats, dict[str, Bytes]]:
    """In each window the j-th bundle holds the j-th kept column of every row."""
    rows, columns = mask.shape
    across = columns // WIDTH
    tiles = mask.reshape(rows // WIDTH, WIDTH, across, WIDTH).swapaxes(1, 2).reshape(-1, WIDTH, WIDTH)
    counts = tiles.sum(axis=2)
    wrong = np.flatnonzero((counts != counts[:, :1]).any(axis=1))
    if wrong.size:
        group, window = divmod(int(wrong[0]), across)
        raise FormatError(
            f"window:8: expected every row of a window to keep equally many, got {counts[wrong[0]].tolist()} "
            f"in row group {group}, window {window}"
        )
    slots = np.repeat(np.arange(len(tiles), dtype=np.int64), counts[:, 0])
    ranks = np.arange(slots.size) - np.repeat(np.cumsum(counts[:, 0]) - counts[:, 0], counts[:, 0])
    order = np.argsort(~tiles, axis=2, kind="stable")  # kept columns first, ascending
    lanes = order[slots, :, ranks].astype(np.int64)
    table = values.reshape(rows // WIDTH, WIDTH, across, WIDTH).swapaxes(1, 2).reshape(-1, WIDTH, WIDTH)
    kept = np.take_along_axis(table[slots], lanes[:, :, None], axis=2)[:, :, 0]
    return kept, {"gaps": encode_gaps(slots, total=len(tiles), step=0), "lanes": pack_bits(lanes, 3)}


def decode(packed: PackedMatrix) -> Ints:
    """Slots in the order of the values, [bundles, 8]."""
    count = values_shape(packed, 2, WIDTH)[0]
    rows, columns = packed.shape
    across = columns // WIDTH
    slots = decode_gaps(bytes_part(packed, "gaps"), total=(rows // WIDTH) * across, step=0)
    if slots.size != count:
        raise FormatError(f"gaps: expected {count} bundles, got {slots.size}")
    lanes = unpack_bits(bytes_part(packed, "lanes"), count * WIDTH, 3, "lanes").reshape(count, WIDTH)
    row = (slots // across * WIDTH)[:, None] + np.arange(WIDTH, dtype=np.int64)
    entries = row * columns + (slots % across * WIDTH)[:, None] + lanes
    ordered = np.sort(entries, axis=None)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if twice.size:
        row_, column = divmod(int(ordered[twice[0]]), columns)
        raise FormatError(f"lanes: expected distinct entries, got row {row_}, column {column} twice")
    return entries


def index_bytes(shape: tuple[int, ...], num_kept: int, parameters: Mapping[str, int]) -> float:
    """One gap byte and 3 bytes of columns a bundle, and more where gaps are long."""
    bundles = num_kept // WIDTH
    return 3 * bundles + expected_gap_bytes(bundles, total=prod(shape) // WIDTH**2, step=0)
