"""The container of a packed file: a safetensors header and gap-free tensors, read as strictly as docs/formats/packed-file.md says.

Reading makes views into the file's bytes and allocates nothing on the word of a header. Writing orders metadata and tensors by itself
(wide elements first, then by name), so that equal networks give equal files; safetensors' own writer shuffles metadata.

>>> raw = b"".join(assemble({"note": "x"}, {"a": np.zeros(2, np.float32)}))
>>> parse(raw)[1]["a"]
array([0., 0.], dtype=float32)
"""

import json
from collections.abc import Iterator, Mapping
from math import prod

import numpy as np

from gossamer.errors import FormatError
from gossamer.formats.matrix import Array
from gossamer.graph import strict_json
from gossamer.graph.strict_json import Json

MAX_HEADER = 100_000_000
MAX_LOOK = 1 << 20
MAX_RANK = 8
MAX_EMPTY = 2**53  # product of the other sizes of a tensor that has a size 0
DTYPES: dict[str, np.dtype[np.generic]] = {
    "U8": np.dtype("<u1"),
    "U16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def assemble(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> Iterator[bytes | memoryview]:
    """The file in pieces: length and header, then each tensor's bytes."""
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Json] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.nbytes
        kind = _NAMES[tensor.dtype.newbyteorder("<")]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = strict_json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise FormatError(
            f"header: expected at most {MAX_HEADER} bytes, got {len(text)}; shorten metrics or recipe"
        )
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        tensor = np.ascontiguousarray(tensors[name]).astype(tensors[name].dtype.newbyteorder("<"), copy=False)
        yield tensor.reshape(-1).view(np.uint8).data


def parse(raw: bytes) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata, and every tensor as a view of `raw`."""
    if len(raw) < 8:
        raise FormatError(f"file: expected at least 8 bytes, got {len(raw)}; is it truncated?")
    length = int.from_bytes(raw[:8], "little")
    if not 2 <= length <= min(MAX_HEADER, len(raw) - 8):
        raise FormatError(
            f"header: expected a length from 2 to {min(MAX_HEADER, len(raw) - 8)} in a file of {len(raw)} bytes, "
            f"got {length}; is the file truncated, or no packed file?"
        )
    text = raw[8 : 8 + length]
    if not text.startswith(b"{"):
        raise FormatError(f"header: expected a JSON object, got its first byte 0x{text[0]:02x}")
    header = strict_json.loads(text)
    assert isinstance(header, dict)
    if "__metadata__" not in header:
        raise FormatError("header: expected __metadata__, got none; was the file written by gossamer pack?")
    metadata = _metadata(header.pop("__metadata__"))
    spans = {name: _span(name, value) for name, value in header.items()}
    at = 0
    for name, (_, _, begin, end) in sorted(spans.items(), key=lambda item: item[1][2:]):
        if begin != at:
            raise FormatError(
                f"tensor {name!r}: expected its data to begin at {at} without hole or overlap, got {begin}"
            )
        at = end
    if at != len(raw) - 8 - length:
        raise FormatError(
            f"file: expected {at} bytes of tensors, got {len(raw) - 8 - length}; is it truncated?"
        )
    base = 8 + length
    return metadata, {
        name: np.frombuffer(raw, dtype=dtype, count=prod(shape), offset=base + begin).reshape(shape)
        if prod(shape)
        else np.empty(shape, dtype=dtype)
        for name, (dtype, shape, begin, _) in spans.items()
    }


def not_packed(begin: bytes) -> str:
    """Words to put before the reader's complaint where the header (in the file's first bytes) is that of another safetensors file, such
    as a checkpoint; else nothing. It explains a refusal and never makes one: it looks at no more than `MAX_LOOK` bytes, without care.

    >>> not_packed(b"".join(assemble({"note": "x"}, {"a": np.zeros(2, np.float32)})))
    'this safetensors file is not a packed network (no gossamer manifest in its metadata): '
    """
    length = int.from_bytes(begin[:8], "little")
    if length > min(MAX_LOOK, len(begin)) - 8:
        return ""
    try:
        header = json.loads(begin[8 : 8 + length])
    except (ValueError, RecursionError):
        return ""
    if not isinstance(header, dict):
        return ""
    metadata = header.pop("__metadata__", {})
    tensors = bool(header) and all(isinstance(entry, dict) and "dtype" in entry for entry in header.values())
    if not tensors or (isinstance(metadata, dict) and "gossamer" in metadata):
        return ""
    return "this safetensors file is not a packed network (no gossamer manifest in its metadata): "


def _metadata(value: Json) -> dict[str, str]:
    if not isinstance(value, dict):
        raise FormatError("__metadata__: expected an object of strings")
    result: dict[str, str] = {}
    for key, item in value.items():
        if not isinstance(item, str):
            raise FormatError(f"__metadata__: expected a string for the key {key!r}")
        result[key] = item
    return result


def _span(name: str, value: Json) -> tuple[np.dtype[np.generic], tuple[int, ...], int, int]:
    where = f"tensor {name!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{where}: expected exactly the keys dtype, shape and data_offsets")
    kind = value["dtype"]
    if not isinstance(kind, str) or kind not in DTYPES:
        raise FormatError(f"{where}: expected a dtype out of {', '.join(DTYPES)}, got {kind!r}")
    shape, offsets = (
        _naturals(value["shape"], f"{where} shape"),
        _naturals(value["data_offsets"], f"{where} offsets"),
    )
    if len(shape) > MAX_RANK or len(offsets) != 2:
        raise FormatError(
            f"{where}: expected at most {MAX_RANK} sizes and 2 offsets, got {len(shape)} and {len(offsets)}"
        )
    size = prod(shape) * DTYPES[kind].itemsize
    if offsets[1] - offsets[0] != size:
        raise FormatError(
            f"{where}: expected {size} bytes for {kind} {list(shape)}, got the offsets {list(offsets)}"
        )
    if (
        not size and prod(n for n in shape if n) > MAX_EMPTY
    ):  # NumPy cannot hold it, and no weight has such a part
        raise FormatError(f"{where}: expected the sizes of a part of a weight, got {list(shape)}")
    return DTYPES[kind], shape, offsets[0], offsets[1]


def _naturals(value: Json, where: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise FormatError(f"{where}: expected an array of integers")
    result: list[int] = []
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int) or item < 0:
            raise FormatError(f"{where}: expected integers of at least 0, got {item!r}")
        result.append(item)
    return tuple(result)
