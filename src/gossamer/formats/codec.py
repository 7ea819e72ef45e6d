"""Pack, unpack and check a weight in any format: what all formats share."""

import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats import block, dense, gather_scatter, n_of_m, unstructured, window
from gossamer.formats.matrix import (
    DTYPES,
    MAX_CELLS,
    MAX_SIZE,
    Array,
    Bools,
    Floats,
    Format,
    Ints,
    Kept,
    PackedMatrix,
)

FORMATS: dict[str, Format] = {
    module.NAME: module for module in (dense, unstructured, block, n_of_m, gather_scatter, window)
}
_PATTERNS: dict[str, tuple[re.Pattern[str], str]] = {
    "unstructured": (re.compile("unstructured|taps:4"), "unstructured, taps:4"),
    "n_of_m": (re.compile(r"(?P<n>[0-9]{1,9}):(?P<m>[0-9]{1,9})"), "N:M"),
    "block": (re.compile(r"block:(?P<rows>[0-9]{1,9})x(?P<columns>[0-9]{1,9})"), "block:RxC"),
    "gather_scatter": (
        re.compile(r"gs:(?P<banks>[0-9]{1,9}),(?P<per_row>[0-9]{1,9})(?:,exact|,greedy)?"),
        "gs:B,k",
    ),
    "window": (re.compile(r"window:(?P<width>[0-9]{1,9})"), "window:8"),
}


def for_pattern(pattern: str) -> tuple[str, dict[str, int]]:
    """The format that stores masks of a pattern (`str` of one), and its parameters; FormatError where no format does.

    Parameters beyond a format's range (window:4, block:128x1) are refused by `pack`.

    >>> for_pattern("2:4")
    ('n_of_m', {'n': 2, 'm': 4})
    """
    for name, (expression, _) in _PATTERNS.items():
        found = expression.fullmatch(str(pattern))
        if found:
            return name, {key: int(value) for key, value in found.groupdict().items()}
    known = ", ".join(text for _, text in _PATTERNS.values())
    raise FormatError(f"pattern: expected one of {known}, got {pattern!r}")


def pack(
    values: Array, mask: Bools | None, *, format: str, dtype: str = "float16", **parameters: int
) -> PackedMatrix:
    """Values [n] or [R, C] whose entries `mask` keeps (None: all), in a format.

    Values outside the mask count as 0 whatever they hold; a kept zero stays stored. FormatError says how the mask breaks the format, or
    which value the dtype cannot hold; values too small for float16 become subnormal or 0.
    """
    floats = _as_floats(values)
    if mask is None:
        return pack_kept(Kept(floats.shape, None, floats.ravel()), format=format, dtype=dtype, **parameters)
    mask = np.ascontiguousarray(mask)
    if mask.dtype != np.bool_ or mask.shape != floats.shape:
        raise FormatError(f"mask: expected bool {list(floats.shape)}, got {mask.dtype} {list(mask.shape)}")
    slots = np.flatnonzero(mask)
    return pack_kept(
        Kept(floats.shape, slots, floats.ravel()[slots]), format=format, dtype=dtype, **parameters
    )


def pack_kept(kept: Kept, *, format: str, dtype: str = "float16", **parameters: int) -> PackedMatrix:
    """The same from the kept entries alone: no array of all R·C entries is made, but for the format `dense`.

    >>> kept = Kept((2**16, 2**16), np.array([7, 2**31]), np.array([1.0, 2.0], np.float32))
    >>> pack_kept(kept, format="unstructured").num_kept
    2
    """
    module = _module(format)
    _check_head(module, kept.shape, dtype, parameters)
    slots, size = kept.slots, prod(kept.shape)
    if kept.values.shape != (size if slots is None else slots.size,):
        raise FormatError(
            f"values: expected one for each of the {size if slots is None else slots.size} kept entries, got the "
            f"shape {list(kept.values.shape)}"
        )
    if (
        slots is not None
        and slots.size
        and (slots[0] < 0 or slots[-1] >= size or (np.diff(slots) <= 0).any())
    ):
        raise FormatError(f"slots: expected ascending numbers below {size}, each once")
    with np.errstate(over="ignore"):
        stored = kept.values.astype(DTYPES[dtype])
    bad = np.flatnonzero(~np.isfinite(stored))
    if bad.size:
        hint = "; float16 ends at 65504, float32 goes on" if dtype == "float16" else ""
        raise FormatError(f"values: expected finite {dtype}, got {kept.values[bad[0]]}{hint}")
    ordered, parts = module.encode(replace(kept, values=stored), parameters)
    return PackedMatrix(format, kept.shape, dtype, parameters, {"values": ordered, **parts})


def unpack(packed: PackedMatrix) -> tuple[Floats, Bools]:
    """Dense float32 values and the mask of what is kept. Allocates the dense matrix: R·C values."""
    slots, present = validate(packed), packed.present
    values = np.zeros(prod(packed.shape), dtype=np.float32)
    mask = np.zeros(values.size, dtype=np.bool_)
    values[slots[present]] = packed.parts["values"][present]
    mask[slots[present]] = True
    return values.reshape(packed.shape), mask.reshape(packed.shape)


def entries(packed: PackedMatrix) -> tuple[Ints, Ints, Floats]:
    """Row, column and float32 value of every kept entry of a matrix, sorted by row, then by column."""
    present = packed.present
    slots = validate(packed)[present]
    order = np.argsort(slots, kind="stable")
    rows, columns = np.divmod(slots[order], packed.shape[1])
    return rows, columns, packed.parts["values"][present][order].astype(np.float32)


def validate(packed: PackedMatrix) -> Ints:
    """Check everything that docs/formats/packed-file.md says of a weight; int64 slots of the values, in their shape."""
    module = _module(packed.format)
    _check_head(module, packed.shape, packed.dtype, packed.parameters)
    if set(packed.parts) != set(module.PARTS):
        raise FormatError(
            f"{packed.format}: expected the parts {list(module.PARTS)}, got {sorted(packed.parts)}"
        )
    for name, part in packed.parts.items():
        expected = np.dtype(DTYPES[packed.dtype] if name == "values" else np.uint8)
        if part.dtype != expected:
            raise FormatError(f"{name}: expected {expected}, got {part.dtype}")
        if name != "values" and part.ndim != 1:
            raise FormatError(f"{name}: expected one dimension, got the shape {list(part.shape)}")
    slots = module.decode(packed)
    if not np.isfinite(packed.parts["values"]).all():
        raise FormatError("values: expected finite numbers, got an infinity or NaN")
    return slots


def nbytes(packed: PackedMatrix) -> int:
    """Bytes of all parts, in memory and on disk."""
    return packed.nbytes


def _module(format: str) -> Format:
    if format not in FORMATS:
        raise FormatError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    return FORMATS[format]


def _as_floats(values: Array) -> Floats:
    """Real numbers as float32 in row-major order; what float32 cannot hold becomes infinite and is refused where it is kept."""
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; torch tensors with gradients
        raise FormatError(f"values: expected an array of real numbers, got: {error}") from error
    if found.dtype.kind not in "fiub":
        raise FormatError(f"values: expected an array of real numbers, got {found.dtype}")
    with np.errstate(over="ignore"):
        return np.asarray(found, dtype=np.float32, order="C")


def _check_head(module: Format, shape: tuple[int, ...], dtype: str, parameters: Mapping[str, int]) -> None:
    if dtype not in DTYPES:
        raise FormatError(f"dtype: expected float32 or float16, got {dtype!r}")
    if (
        len(shape) not in (1, 2)
        or not all(1 <= size <= MAX_SIZE for size in shape)
        or prod(shape) > MAX_CELLS
    ):
        raise FormatError(
            f"shape: expected [n] or [R, C] of sizes 1 to 2^31 - 1, product at most 2^40, got {list(shape)}"
        )
    if len(shape) == 1 and module.NAME != "dense":
        raise FormatError(f"format: expected dense for the vector {list(shape)}, got {module.NAME}")
    if set(parameters) != set(module.PARAMETERS):
        raise FormatError(
            f"{module.NAME}: expected the parameters {list(module.PARAMETERS)}, got {sorted(parameters)}"
        )
    for name, number in parameters.items():
        if type(number) is not int:
            raise FormatError(f"{module.NAME} {name}: expected an integer, got {number!r}")
    module.check(shape, parameters)
