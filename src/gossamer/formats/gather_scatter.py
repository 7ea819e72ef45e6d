"""`gather_scatter`: bundles of B entries whose columns differ modulo B, k of them in each row. docs/formats/gather-scatter.md."""

from collections.abc import Mapping
from math import prod

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.bits import pack_bits, unpack_bits, width_of
from gossamer.formats.bundling import bundle_columns
from gossamer.formats.matrix import (
    Array,
    Bytes,
    Ints,
    Kept,
    PackedMatrix,
    bounds,
    bytes_part,
    must_divide,
    values_shape,
)  # fmt: skip

NAME = "gather_scatter"
PARAMETERS: tuple[str, ...] = ("banks", "per_row")
PARTS: tuple[str, ...] = ("values", "columns", "counts")


def check(shape: tuple[int, ...], parameters: Mapping[str, int]) -> None:
    """Banks tile the columns, groups of B/k rows tile the rows."""
    banks, per_row = parameters["banks"], parameters["per_row"]
    bounds(2, banks, 64, "gather_scatter banks")
    if banks & (banks - 1):
        raise FormatError(f"gather_scatter banks: expected a power of two, got {banks}")
    bounds(1, per_row, banks, "gather_scatter per_row")
    must_divide(per_row, banks, "gather_scatter per_row")
    must_divide(banks, shape[1], "gather_scatter columns")
    must_divide(banks // per_row, shape[0], "gather_scatter rows")


def encode(kept: Kept, parameters: Mapping[str, int]) -> tuple[Array, dict[str, Bytes]]:
    """Bundles group after group; the lanes of a row take its entries in the order of their residues."""
    banks, per_row = parameters["banks"], parameters["per_row"]
    rows, columns = kept.shape
    height = banks // per_row
    slots = kept.listed
    row, column = np.divmod(slots, columns)
    bundles = _bundle_counts(kept.shape, row, column, banks, per_row)
    by_residue = column[
        np.lexsort((column, column % banks, row))
    ]  # row by row, sorted by residue, then by column
    ends = np.cumsum(bundles) * banks
    parts = [
        _group_columns(by_residue[end - count * banks : end].reshape(banks, count), banks, per_row)
        for end, count in zip(ends.tolist(), bundles.tolist(), strict=True)
        if count
    ]
    chosen = np.concatenate(parts) if parts else np.empty((0, banks), dtype=np.int64)
    lane_row = np.repeat(np.arange(rows // height), bundles)[:, None] * height + np.arange(banks) // per_row
    stored = chosen // banks if per_row == banks else chosen
    return kept.values[np.searchsorted(slots, lane_row * columns + chosen)], {
        "columns": pack_bits(stored, _width(columns, banks, per_row)),
        "counts": pack_bits(bundles, _counts_width(height * columns, banks)),
    }


def decode(packed: PackedMatrix) -> Ints:
    """Slots in the order of the values, [bundles, B]."""
    banks, per_row = packed.parameters["banks"], packed.parameters["per_row"]
    rows, columns = packed.shape
    height = banks // per_row
    total = values_shape(packed, 2, banks)[0]
    width = _counts_width(height * columns, banks)
    counts = unpack_bits(bytes_part(packed, "counts"), rows // height, width, "counts")
    if counts.sum() != total:
        raise FormatError(f"counts: expected the sum {total} (bundles of values), got {counts.sum()}")
    lane = np.arange(banks, dtype=np.int64)
    width = _width(columns, banks, per_row)
    column = unpack_bits(bytes_part(packed, "columns"), total * banks, width, "columns").reshape(total, banks)
    if per_row == banks:
        column = column * banks + lane
    if column.size and column.max() >= columns:
        raise FormatError(f"columns: expected columns below {columns}, got {column.max()}")
    mixed = np.flatnonzero((np.sort(column % banks, axis=1) != lane).any(axis=1))
    if mixed.size:
        found = (column[mixed[0]] % banks).tolist()
        raise FormatError(f"columns: expected {banks} different residues, got {found} in bundle {mixed[0]}")
    group = np.repeat(np.arange(rows // height, dtype=np.int64), counts)
    entries = (group[:, None] * height + lane // per_row) * columns + column
    ordered = np.sort(entries, axis=None)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if twice.size:
        row, where = divmod(int(ordered[twice[0]]), columns)
        raise FormatError(f"columns: expected distinct entries, got row {row}, column {where} twice")
    return entries


def index_bytes(shape: tuple[int, ...], num_kept: int, parameters: Mapping[str, int]) -> float:
    """The columns, and the bundles of every group."""
    banks, per_row = parameters["banks"], parameters["per_row"]
    group = banks // per_row * shape[1]  # entries of a group
    return (
        num_kept * _width(shape[1], banks, per_row) + prod(shape) // group * _counts_width(group, banks)
    ) / 8


def _width(columns: int, banks: int, per_row: int) -> int:
    """Bits of a lane's column: of its quotient by B where the lane gives the residue."""
    return width_of(columns // banks if per_row == banks else columns)


def _counts_width(group: int, banks: int) -> int:
    """Bits of the number of bundles in a group of `group` entries: 0 to group / B."""
    return width_of(group // banks + 1)


def _bundle_counts(shape: tuple[int, ...], row: Ints, column: Ints, banks: int, per_row: int) -> Ints:
    """Bundles of every group; FormatError where row sums or residue sums say that the entries are not GS(B, k)."""
    height = banks // per_row
    groups = shape[0] // height
    by_residue = np.bincount(row // height * banks + column % banks, minlength=groups * banks).reshape(
        -1, banks
    )
    bundles: Ints = by_residue[:, 0]
    where = f"gs:{banks},{per_row}"
    wrong = np.flatnonzero((by_residue != by_residue[:, :1]).any(axis=1))
    if wrong.size:
        group = int(wrong[0])
        raise FormatError(
            f"{where}: expected equally many kept in every residue class modulo {banks}, got {by_residue[group].tolist()} "
            f"in rows {group * height} to {group * height + height - 1}"
        )
    by_row = np.bincount(row, minlength=shape[0]).reshape(groups, height)
    wrong_rows = np.argwhere(by_row != per_row * bundles[:, None])
    if wrong_rows.size:
        group, inside = (int(item) for item in wrong_rows[0])
        raise FormatError(
            f"{where}: expected {per_row * bundles[group]} kept in row {group * height + inside} "
            f"(equal rows in a group of {height}), got {by_row[group, inside]}"
        )
    return bundles


def _group_columns(columns: Ints, banks: int, per_row: int) -> Ints:
    """Bundles [T, B] of one group's columns [B, T], sorted by row, residue, column."""
    return columns.T if per_row == banks else bundle_columns(columns, banks)
