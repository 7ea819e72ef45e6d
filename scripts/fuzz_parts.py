"""A packed file taken apart and put together again, with lengths and checksums made right."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any


def checksum(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"


@dataclass
class Parts:
    """A packed file taken apart. Texts are bytes, so that they can be made invalid."""

    header: dict[str, Any]  # without __metadata__
    manifest: dict[str, Any]
    data: dict[str, bytes]
    metadata: dict[str, Any]
    text: bytes | None = None  # the manifest's text, where a mutation fixes it
    padding: bytes = b""

    @classmethod
    def of(cls, raw: bytes) -> Parts:
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        metadata = header.pop("__metadata__")
        payload = raw[8 + length :]
        data = {name: payload[t["data_offsets"][0] : t["data_offsets"][1]] for name, t in header.items()}
        return cls(header, json.loads(metadata.pop("gossamer")), data, {})

    def fix_offsets(self) -> None:
        """Lay the tensors one behind the other, in the order of the header."""
        at = 0
        for name, tensor in self.header.items():
            tensor["data_offsets"] = [at, at + len(self.data[name])]
            at += len(self.data[name])

    def fix_checksums(self) -> None:
        for weight in self.manifest["weights"].values():
            for part in weight["parts"].values():
                part["crc32"] = checksum(self.data[part["tensor"]])

    def assemble(self) -> bytes:
        text = json.dumps(self.manifest, ensure_ascii=False).encode() if self.text is None else self.text
        metadata = {"gossamer_crc32": checksum(text), **self.metadata}
        rest = json.dumps({"__metadata__": metadata, **self.header}, ensure_ascii=False).encode()
        head = (
            b'{"__metadata__": {"gossamer": "'
            + escape(text)
            + b'", '
            + rest[len(b'{"__metadata__": {') :]
            + self.padding
        )
        return (
            len(head).to_bytes(8, "little")
            + head
            + b"".join(self.data[name] for name in self.header if name in self.data)
        )


def escape(text: bytes) -> bytes:
    """Bytes as the inside of a JSON string; bytes above 127 stay as they are, valid or not."""
    out = bytearray()
    for byte in text:
        if byte in b'"\\':
            out += b"\\" + bytes([byte])
        elif byte < 32:
            out += b"\\u%04x" % byte
        else:
            out.append(byte)
    return bytes(out)
