"""A packed file written from docs/formats alone, without Gossamer's writer: both readers must find the numbers that were meant."""

import json
import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gossamer.formats import FORMATS, packed_file, unpack
from gossamer.kernels import native

Part = tuple[str, list[int], bytes]  # dtype, shape, bytes
Written = tuple[
    str, dict[str, int], str, dict[str, Part], np.ndarray
]  # format, parameters, dtype, parts, what is meant


def ceil_log2(count: int) -> int:
    width = 0
    while 2**width < count:
        width += 1
    return width


def bit_stream(numbers: Sequence[int], width: int) -> Part:
    """Least significant bit of byte 0 first."""
    whole = sum(number << (place * width) for place, number in enumerate(numbers))
    size = (len(numbers) * width + 7) // 8
    return "U8", [size], whole.to_bytes(size, "little")


def gap_bytes(slots: Sequence[int], total: int, step: int) -> Part:
    stream, cursor = bytearray(), 0
    for slot in slots:
        while slot - cursor >= 255:
            stream.append(255)
            cursor += 255
        stream.append(slot - cursor)
        cursor = slot + step
    while total - cursor >= 255:
        stream.append(255)
        cursor += 255
    return "U8", [len(stream)], bytes(stream)


def values(numbers: Any, shape: list[int], dtype: str) -> Part:
    kind, name = ("<f2", "F16") if dtype == "float16" else ("<f4", "F32")
    return name, shape, np.asarray(numbers, kind).tobytes()


def dense(rng: random.Random) -> Written:
    meant = np.array([[rng.randint(-99, 99) for _ in range(5)] for _ in range(3)], np.float32)
    return "dense", {}, "float32", {"values": values(meant, [3, 5], "float32")}, meant


def unstructured(rng: random.Random) -> Written:
    meant, slots = np.zeros(3 * 700, np.float32), sorted(rng.sample(range(3 * 700), 9))
    meant[slots] = [rng.randint(1, 99) for _ in slots]
    parts = {"values": values(meant[slots], [9], "float16"), "gaps": gap_bytes(slots, 3 * 700, 1)}
    return "unstructured", {}, "float16", parts, meant.reshape(3, 700)


def block(rng: random.Random) -> Written:
    r, c, across, kept = 3, 2, 600, []
    meant, slots = np.zeros((6, 1200), np.float32), sorted(rng.sample(range(2 * 600), 5))
    for slot in slots:
        row, column = slot // across * r, slot % across * c
        meant[row : row + r, column : column + c] = [[rng.randint(1, 99) for _ in range(c)] for _ in range(r)]
        kept.append(meant[row : row + r, column : column + c].copy())
    parts = {"values": values(kept, [5, r, c], "float32"), "gaps": gap_bytes(slots, 1200, 1)}
    return "block", {"rows": r, "columns": c}, "float32", parts, meant


def n_of_m(rng: random.Random) -> Written:
    meant, positions = np.zeros(3 * 10, np.float32), []
    for group in range(6):
        for position in sorted(rng.sample(range(5), 2)):
            positions.append(position)
            meant[5 * group + position] = rng.randint(1, 99)
    parts = {"values": values(meant[meant != 0], [12], "float16"), "positions": bit_stream(positions, 3)}
    return "n_of_m", {"n": 2, "m": 5}, "float16", parts, meant.reshape(3, 10)


def gather_scatter(
    banks: int, per_row: int, shape: tuple[int, int], counts: list[int]
) -> Callable[[random.Random], Written]:
    def write(rng: random.Random) -> Written:
        height, meant = banks // per_row, np.zeros(shape, np.float32)
        kept: list[list[float]] = []
        columns: list[int] = []
        for group, bundles in enumerate(counts):
            for _ in range(bundles):
                entries = [(0, 0)]
                while any(meant[entry] for entry in entries) or len(set(entries)) < banks:
                    residues = list(range(banks))
                    if per_row < banks:
                        rng.shuffle(residues)
                    entries = [
                        (
                            group * height + (lane // per_row),
                            residue + banks * rng.randrange(shape[1] // banks),
                        )
                        for lane, residue in enumerate(residues)
                    ]
                for entry in entries:
                    meant[entry] = rng.randint(1, 99)
                kept.append([float(meant[entry]) for entry in entries])
                columns += [column // banks if per_row == banks else column for _, column in entries]
        width = ceil_log2(shape[1] // banks) if per_row == banks else ceil_log2(shape[1])
        parts = {
            "values": values(kept, [len(kept), banks], "float16"),
            "columns": bit_stream(columns, width),
            "counts": bit_stream(counts, ceil_log2(height * shape[1] // banks + 1)),
        }
        return "gather_scatter", {"banks": banks, "per_row": per_row}, "float16", parts, meant

    return write


def window(rng: random.Random) -> Written:
    meant, slots, kept, words = np.zeros((16, 24), np.float32), [0, 3, 3, 5], [], b""
    for slot in slots:
        row, column = slot // 3 * 8, slot % 3 * 8
        lanes = [rng.choice([c for c in range(8) if not meant[row + i, column + c]]) for i in range(8)]
        for i, lane in enumerate(lanes):
            meant[row + i, column + lane] = rng.randint(1, 99)
        kept.append([float(meant[row + i, column + lane]) for i, lane in enumerate(lanes)])
        words += sum(lane << (3 * i) for i, lane in enumerate(lanes)).to_bytes(3, "little")
    parts = {
        "values": values(kept, [4, 8], "float16"),
        "gaps": gap_bytes(slots, 6, 0),
        "lanes": ("U8", [12], words),
    }
    return "window", {"width": 8}, "float16", parts, meant


WRITERS: dict[str, Callable[[random.Random], Written]] = {
    "dense": dense,
    "unstructured": unstructured,
    "block": block,
    "n_of_m": n_of_m,
    "gather_scatter hybrid": gather_scatter(4, 2, (4, 12), [1, 2]),
    "gather_scatter vertical": gather_scatter(8, 1, (16, 24), [2, 0]),
    "gather_scatter horizontal": gather_scatter(8, 8, (3, 24), [1, 0, 3]),
    "gather_scatter without columns": gather_scatter(8, 8, (2, 8), [1, 1]),
    "window": window,
}


def file_of(written: Written, rng: random.Random) -> bytes:
    """One linear layer with that weight; tensors in any order, white space after the header."""
    format, parameters, dtype, parts, meant = written
    entry = {
        "format": format,
        "shape": list(meant.shape),
        "dtype": dtype,
        "parameters": parameters,
        "parts": {
            name: {"tensor": f"t {name}", "crc32": f"{zlib.crc32(data):08x}"}
            for name, (_, _, data) in parts.items()
        },
    }
    node = {
        "op": "linear",
        "name": "fc",
        "inputs": ["x"],
        "outputs": ["y"],
        "attributes": {},
        "weights": {"weight": "w"},
    }
    network = {
        "name": "",
        "dims": {"n": {"min": 1, "max": 2000}},
        "inputs": [{"name": "x", "shape": ["n", meant.shape[1]], "dtype": "float32"}],
        "outputs": [{"name": "out", "value": "y"}],
        "nodes": [node],
    }
    text = json.dumps(
        {"format_version": 1, "library": "by hand", "network": network, "weights": {"w": entry}}
    )
    header: dict[str, Any] = {
        "__metadata__": {"gossamer": text, "gossamer_crc32": f"{zlib.crc32(text.encode()):08x}"}
    }
    body = b""
    for name, (kind, shape, data) in rng.sample(sorted(parts.items()), len(parts)):
        header[f"t {name}"] = {
            "dtype": kind,
            "shape": shape,
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    head = json.dumps(header).encode() + b" \n"
    return len(head).to_bytes(8, "little") + head + body


def test_every_format_is_written():
    assert {name.split()[0] for name in WRITERS} == set(FORMATS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", WRITERS)
def test_both_readers_find_what_was_meant(name: str, seed: int):
    rng = random.Random(f"{name}:{seed}")
    written = WRITERS[name](rng)
    raw, meant = file_of(written, rng), written[-1]
    found, mask = unpack(packed_file.read(raw).weights["w"])
    assert np.array_equal(found, meant)
    assert np.array_equal(mask, (meant != 0) | (name == "dense"))
    module = native.status().module
    if module is None:
        pytest.skip(native.status().reason)
    (y,) = module.Session(module.File(raw)).run([np.eye(meant.shape[1], dtype=np.float32)], meant.shape[1])
    assert np.array_equal(y.T, meant)
