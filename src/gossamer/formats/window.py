"""`window`: 8 rows share an aligned window of 8 columns; in a bundle each row picks one column. docs/formats/window.md."""

from collections.abc import Mapping
from math import prod

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.bits import decode_gaps, encode_gaps, expected_gap_bytes, pack_bits, unpack_bits
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

NAME = "window"
PARAMETERS: tuple[str, ...] = ("width",)
PARTS: tuple[str, ...] = ("values", "gaps", "lanes")
WIDTH = 8


def check(shape: tuple[int, ...], parameters: Mapping[str, int]) -> None:
    """Windows of 8 x 8 tile the matrix."""
    bounds(WIDTH, parameters["width"], WIDTH, "window width")
    must_divide(WIDTH, shape[0], "window rows")
    must_divide(WIDTH, shape[1], "window columns")


def encode(kept: Kept, parameters: Mapping[str, int]) -> tuple[Array, dict[str, Bytes]]:
    """In each window the j-th bundle holds the j-th kept column of every row."""
    row, column = np.divmod(kept.listed, kept.shape[1])
    across = kept.shape[1] // WIDTH
    window = row // WIDTH * across + column // WIDTH
    key = (window * WIDTH + row % WIDTH) * WIDTH + column % WIDTH
    order = np.argsort(key, kind="stable")
    windows, counts = _counts(key[order] // WIDTH)
    wrong = np.flatnonzero((counts != counts[:, :1]).any(axis=1))
    if wrong.size:
        group, place = divmod(int(windows[wrong[0]]), across)
        raise FormatError(
            f"window:8: expected every row of a window to keep equally many, got {counts[wrong[0]].tolist()} "
            f"in row group {group}, window {place}"
        )
    bundles = np.repeat(counts[:, 0], counts[:, 0])  # of the window, for each of its bundles
    before = np.repeat(np.cumsum(counts[:, 0]) - counts[:, 0], counts[:, 0])  # bundles of earlier windows
    rank = np.arange(bundles.size) - before
    lane = np.arange(WIDTH, dtype=np.int64)
    entry = order[(before * WIDTH + rank)[:, None] + lane * bundles[:, None]]
    return kept.values[entry], {
        "gaps": encode_gaps(np.repeat(windows, counts[:, 0]), total=prod(kept.shape) // WIDTH**2, step=0),
        "lanes": pack_bits(column[entry] % WIDTH, 3),
    }


def _counts(rows: Ints) -> tuple[Ints, Ints]:
    """The windows in which something is kept, and how many each of their rows keeps [windows, 8]; `rows`: window·8 + row of every entry,
    ascending."""
    found, kept = runs(rows)
    windows, _ = runs(found // WIDTH)
    counts = np.zeros((windows.size, WIDTH), dtype=np.int64)
    counts[np.searchsorted(windows, found // WIDTH), found % WIDTH] = kept
    return windows, counts


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
