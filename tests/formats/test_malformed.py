"""Every rule of docs/formats/packed-file.md section 4 that a compact matrix can break, and the sentence it raises."""

from dataclasses import replace

import numpy as np
import pytest

from gossamer import formats
from gossamer.errors import FormatError
from gossamer.formats.matrix import PackedMatrix


def u8(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint8)


def f16(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float16)


def made(
    format: str, shape: tuple[int, ...], parameters: dict[str, int] | None = None, **parts: np.ndarray
) -> PackedMatrix:
    return PackedMatrix(format, shape, "float16", parameters or {}, parts)


GOOD = {
    "dense": made("dense", (2, 2), values=f16(2, 2)),
    "vector": made("dense", (3,), values=f16(3)),
    "unstructured": made("unstructured", (2, 3), values=f16(2), gaps=u8(0, 3)),
    "empty": made("unstructured", (2, 300), values=f16(0), gaps=u8(255, 255)),
    "block": made("block", (4, 2), {"rows": 2, "columns": 1}, values=f16(1, 2, 1), gaps=u8(3)),
    "n_of_m": made("n_of_m", (1, 8), {"n": 2, "m": 4}, values=f16(4), positions=u8(0x4D)),
    "gs": made(
        "gather_scatter", (2, 4), {"banks": 2, "per_row": 1}, values=f16(1, 2), columns=u8(6), counts=u8(1)
    ),
    "gs wide": made(
        "gather_scatter", (1, 2), {"banks": 2, "per_row": 2}, values=f16(1, 2), columns=u8(), counts=u8(1)
    ),
    "window": made(
        "window", (8, 8), {"width": 8}, values=f16(2, 8), gaps=u8(0, 0), lanes=u8(0, 0, 0, 255, 255, 255)
    ),
}
BAD = {  # name: (good one, change, sentence)
    "format": ("dense", {"format": "csr"}, "format: expected one of"),
    "dtype": ("dense", {"dtype": "float64"}, "dtype: expected"),
    "no rank": ("dense", {"shape": ()}, "shape: expected"),
    "rank 3": ("dense", {"shape": (1, 2, 2)}, "shape: expected"),
    "size 0": ("dense", {"shape": (0, 2)}, "shape: expected"),
    "huge": ("dense", {"shape": (2**31 - 1, 2**31 - 1)}, "shape: expected"),
    "dense size": ("dense", {"shape": (2, 3)}, r"\[2, 3\], got \[2, 2\]"),
    "sparse vector": ("unstructured", {"shape": (6,)}, "expected dense for the vector"),
    "parameter too many": ("dense", {"parameters": {"n": 1}}, "expected the parameters"),
    "parameter missing": ("block", {"parameters": {"rows": 2}}, "expected the parameters"),
    "block 1x1": ("block", {"parameters": {"rows": 1, "columns": 1}}, "at least 2 values"),
    "block too high": ("block", {"parameters": {"rows": 65, "columns": 1}}, "expected 1 to 64"),
    "block does not divide": ("block", {"shape": (5, 2)}, "expected 2 to divide 5"),
    "block values": ("block", {"values": f16(1, 1, 2)}, r"expected the shape \[n, 2, 1\]"),
    "part missing": ("unstructured", {"gaps": None}, "expected the parts"),
    "part too many": ("dense", {"gaps": u8()}, "expected the parts"),
    "values dtype": ("dense", {"values": np.ones((2, 2), np.float32)}, "expected float16"),
    "gaps dtype": ("unstructured", {"gaps": np.array([0, 3], np.uint16)}, "expected uint8"),
    "gaps rank": ("unstructured", {"gaps": u8(0, 3).reshape(2, 1)}, "one dimension"),
    "slot outside": ("unstructured", {"gaps": u8(0, 5)}, "gaps: expected"),
    "cursor outside": ("empty", {"gaps": u8(255, 255, 255)}, "gaps: expected a stream"),
    "stream too short": ("empty", {"gaps": u8(255)}, "gaps: expected a stream"),
    "entries and values": ("unstructured", {"values": f16(3)}, "expected 3 entries"),
    "infinity": ("dense", {"values": np.full((2, 2), np.inf, np.float16)}, "finite"),
    "n above m": ("n_of_m", {"parameters": {"n": 5, "m": 4}}, "n_of_m n: expected 1 to 4"),
    "m too large": ("n_of_m", {"parameters": {"n": 2, "m": 257}}, "expected 2 to 256"),
    "m does not divide": ("n_of_m", {"parameters": {"n": 2, "m": 3}}, "expected 3 to divide 8"),
    "number of values": ("n_of_m", {"values": f16(3)}, "expected 4"),
    "positions equal": ("n_of_m", {"positions": u8(0x45)}, "increasing"),
    "positions too long": ("n_of_m", {"positions": u8(0x4D, 0)}, "expected 1 bytes"),
    "bank not a power": ("gs", {"parameters": {"banks": 3, "per_row": 1}}, "power of two"),
    "per_row": ("gs", {"parameters": {"banks": 2, "per_row": 0}}, "per_row: expected"),
    "rows and groups": ("gs", {"shape": (3, 4)}, "expected 2 to divide 3"),
    "columns and banks": ("gs", {"shape": (2, 5)}, "expected 2 to divide 5"),
    "sum of counts": ("gs", {"counts": u8(2)}, "expected the sum 1"),
    "unused bits": ("gs", {"counts": u8(9)}, "unused bits"),
    "residues": ("gs", {"columns": u8(0b1000)}, "different residues"),
    "bits of columns": ("gs", {"columns": u8(0b10110)}, "unused bits"),
    "no bits at all": ("gs wide", {"columns": u8(0)}, "expected 0 bytes"),
    "width": ("window", {"parameters": {"width": 4}}, "window width: expected 8, got 4"),
    "slot at the end": ("window", {"gaps": u8(0, 1)}, "slots below 1"),
    "entry twice": ("window", {"lanes": u8(0, 0, 0, 0, 0, 0)}, "row 0, column 0 twice"),
    "bundles and values": ("window", {"gaps": u8(0)}, "expected 2 bundles"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str):
    formats.validate(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str):
    good, change, sentence = BAD[name]
    parts = {
        **GOOD[good].parts,
        **{
            k: v
            for k, v in change.items()
            if k in ("values", "gaps", "positions", "columns", "counts", "lanes")
        },
    }
    head = {k: v for k, v in change.items() if k in ("format", "shape", "dtype", "parameters")}
    broken = replace(GOOD[good], **head, parts={k: v for k, v in parts.items() if v is not None})
    with pytest.raises(FormatError, match=sentence):
        formats.validate(broken)


def test_twice_in_a_gather_scatter_group():
    twice = made(
        "gather_scatter", (2, 4), {"banks": 2, "per_row": 1}, values=f16(2, 2), columns=u8(0x66), counts=u8(2)
    )
    with pytest.raises(FormatError, match="row 0, column 2 twice"):
        formats.validate(twice)


def test_claims_justify_no_memory():
    """A matrix of 2^40 entries in four bytes is refused at once, in every format."""
    huge = (2**20, 2**20)
    for name, parameters, parts in (
        ("unstructured", {}, {"gaps": u8(255)}),
        ("block", {"rows": 64, "columns": 64}, {"gaps": u8(255)}),
        ("n_of_m", {"n": 1, "m": 256}, {"positions": u8(0)}),
        ("gather_scatter", {"banks": 64, "per_row": 1}, {"columns": u8(), "counts": u8(0)}),
        ("window", {"width": 8}, {"gaps": u8(255), "lanes": u8()}),
    ):
        shape = {"block": (0, 64, 64), "gather_scatter": (0, 64), "window": (0, 8)}.get(name, (0,))
        with pytest.raises(FormatError, match="expected"):
            formats.validate(made(name, huge, parameters, values=f16(*shape), **parts))


def test_pack_says_what_is_wrong():
    ones = np.ones((2, 4), np.float32)
    with pytest.raises(FormatError, match=r"mask: expected bool \[2, 4\], got bool \[2, 3\]"):
        formats.pack(ones, np.ones((2, 3), bool), format="unstructured")
    with pytest.raises(FormatError, match=r"got 100000.0; float16 ends at 65504"):
        formats.pack(1e5 * ones, None, format="dense")
    with pytest.raises(FormatError, match="expected finite float32, got nan"):
        formats.pack(np.nan * ones, None, format="dense", dtype="float32")
    assert formats.pack(np.nan * ones, np.zeros((2, 4), bool), format="unstructured").num_kept == 0
    for pattern in ("2;4", "٢:٤", "gs:" + "8" * 5000 + ",1", None, 24):
        with pytest.raises(FormatError, match="pattern: expected one of"):
            formats.for_pattern(pattern)
    for values in ([["a"]], [[1j]], [[1.0], [1.0, 2.0]], None):
        with pytest.raises(FormatError, match="values: expected an array of real numbers"):
            formats.pack(values, None, format="dense")
    with pytest.raises(FormatError, match="expected finite float32, got inf"):
        formats.pack(np.array([[1e300]]), None, format="dense", dtype="float32")
    for wrong in (4.0, "4", True, None):
        with pytest.raises(FormatError, match="block rows: expected an integer"):
            formats.pack(ones, None, format="block", rows=wrong, columns=1)
    with pytest.raises(FormatError, match=r"sizes 1 to .*, got \[0, 4\]"):
        formats.pack(ones[:0], None, format="dense")
