"""The packed file: one network with its weights in one safetensors file (docs/formats/packed-file.md).

`write` is atomic: the file appears whole or not at all, and an older file of that name stays until then. `read` checks everything
(checksums, weights, operators, shapes) before it returns.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gossamer.errors import FileError, FormatError, GraphError
from gossamer.files import write_atomic
from gossamer.formats import codec, container
from gossamer.formats.matrix import Array, PackedMatrix
from gossamer.graph import Manifest, strict_json, validate
from gossamer.graph.fields import array, integer, mapping, member, name, string
from gossamer.graph.strict_json import Json


@dataclass(frozen=True, kw_only=True)
class PackedFile:
    """What a packed file holds. `size`: bytes of the file; weights are views into them; `version`: of the format."""

    manifest: Manifest
    version: int
    weights: Mapping[str, PackedMatrix]
    size: int


def write(path: str | Path, manifest: Manifest, weights: Mapping[str, PackedMatrix | Array]) -> int:
    """Write the file and return its size in bytes. A plain array stands for a dense float32 weight.

    FormatError or GraphError where the network or a weight is wrong, FileError where the file cannot be written; an older file of that
    name is then unchanged.
    """
    return write_atomic(Path(path), _pieces(manifest, weights)).stat().st_size


def to_bytes(manifest: Manifest, weights: Mapping[str, PackedMatrix | Array]) -> bytes:
    """The file's bytes: what `write` would write."""
    return b"".join(_pieces(manifest, weights))


def read(source: str | Path | bytes) -> PackedFile:
    """Read and check a packed file from a path or from bytes.

    FormatError or GraphError says what is wrong with it, FileError why there is nothing to read.
    """
    if isinstance(source, bytes):
        return _read(source)
    try:
        raw = Path(source).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"expected a readable packed file, got {str(source)!r}: {reason}") from error
    try:
        return _read(raw)
    except (FormatError, GraphError) as error:
        raise type(error)(f"{source}: {error}") from error


def table(weights: Mapping[str, PackedMatrix]) -> dict[str, Json]:
    """The `weights` of the manifest: every part as the tensor NAME.PART with its checksum."""
    return {
        key: {
            "format": weight.format,
            "shape": list(weight.shape),
            "dtype": weight.dtype,
            "parameters": dict(weight.parameters),
            "parts": {
                part: {"tensor": f"{key}.{part}", "crc32": checksum(_raw(data))}
                for part, data in weight.parts.items()
            },
        }
        for key, weight in weights.items()
    }


def _pieces(manifest: Manifest, weights: Mapping[str, PackedMatrix | Array]) -> Iterable[bytes | memoryview]:
    packed = {name(key, "weight name"): _as_packed(key, weight) for key, weight in weights.items()}
    version = validate(manifest.network, packed).version
    tensors = {f"{key}.{part}": data for key, weight in packed.items() for part, data in weight.parts.items()}
    if len(tensors) != sum(len(weight.parts) for weight in packed.values()):
        raise FormatError(
            "weights: expected names whose tensors NAME.PART differ, got a collision; rename one"
        )
    text = strict_json.dumps(manifest.to_json(table(packed), version=version))
    Manifest.from_json(strict_json.loads(text))
    return container.assemble({"gossamer": text, "gossamer_crc32": checksum(text.encode("utf-8"))}, tensors)


def _raw(data: Array) -> memoryview:
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8).data


def _as_packed(key: str, weight: PackedMatrix | Array) -> PackedMatrix:
    try:
        if not isinstance(weight, PackedMatrix):
            return codec.pack(weight, None, format="dense", dtype="float32")
        codec.validate(weight)
    except FormatError as error:
        raise FormatError(f"weight {key!r}: {error}") from error
    return weight


def checksum(data: bytes | memoryview) -> str:
    """CRC-32 as the file writes it: eight lower-case hexadecimal digits.

    >>> checksum(b"123456789")
    'cbf43926'
    """
    return f"{zlib.crc32(data):08x}"


def _contents(raw: bytes) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata with the two keys of a packed file, and the tensors."""
    try:
        metadata, tensors = container.parse(raw)
        for key in ("gossamer", "gossamer_crc32"):
            if key not in metadata:
                raise FormatError(
                    f"__metadata__: expected the key {key}, got none; was the file written by gossamer pack?"
                )
    except FormatError as error:
        raise FormatError(f"{container.not_packed(raw)}{error}") from error
    return metadata, tensors


def _read(raw: bytes) -> PackedFile:
    metadata, tensors = _contents(raw)
    text = metadata["gossamer"].encode("utf-8")
    if checksum(text) != metadata["gossamer_crc32"]:
        raise FormatError(
            f"manifest: expected the CRC-32 {metadata['gossamer_crc32']!r}, got {checksum(text)}"
        )
    manifest, table, version = Manifest.from_json(_manifest_json(text))
    taken: set[str] = set()
    weights = {key: _weight(key, value, tensors, taken) for key, value in table.items()}
    for tensor in tensors:
        if tensor not in taken:
            raise FormatError(f"tensor {tensor!r}: expected a weight that names it, got none")
    validate(manifest.network, weights, version=version)
    return PackedFile(manifest=manifest, version=version, weights=weights, size=len(raw))


def _manifest_json(text: bytes) -> Json:
    try:
        return strict_json.loads(text)
    except FormatError as error:
        raise GraphError(f"manifest: {error}") from error


def _weight(key: str, value: Json, tensors: Mapping[str, Array], taken: set[str]) -> PackedMatrix:
    where = f"weight {key!r}"
    try:
        weight = _describe(key, value, tensors, taken)
        codec.validate(weight)
    except (FormatError, GraphError) as error:
        raise FormatError(f"{where}: {error}") from error
    return weight


def _describe(key: str, value: Json, tensors: Mapping[str, Array], taken: set[str]) -> PackedMatrix:
    name(key, "name")
    found = member(value, "entry", keys=("format", "shape", "dtype", "parameters", "parts"))
    parts: dict[str, Array] = {}
    for part, entry in mapping(found["parts"], "parts").items():
        item = member(entry, f"part {part!r}", keys=("tensor", "crc32"))
        tensor, expected = string(item["tensor"], f"{part} tensor"), string(item["crc32"], f"{part} crc32")
        if tensor not in tensors or tensor in taken:
            state = "one that another part names" if tensor in taken else "none of that name"
            raise FormatError(f"part {part!r}: expected a tensor {tensor!r} of its own, got {state}")
        taken.add(tensor)
        got = checksum(_raw(tensors[tensor]))
        if got != expected:
            raise FormatError(
                f"part {part!r}: expected the CRC-32 {expected!r}, got {got}; the file is damaged"
            )
        parts[part] = tensors[tensor]
    parameters = mapping(found["parameters"], "parameters")
    return PackedMatrix(
        format=string(found["format"], "format"),
        shape=tuple(integer(size, "shape", 1) for size in array(found["shape"], "shape")),
        dtype=string(found["dtype"], "dtype"),
        parameters={role: integer(number, f"parameter {role}", 0) for role, number in parameters.items()},
        parts=parts,
    )
