"""The reader allocates a small factor of the file's size, whatever the file claims."""

import contextlib
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossamer.errors import GossamerError
from gossamer.formats import container, packed_file

FILE = Path(__file__).parents[1] / "data" / "packed" / "version_1.safetensors"
FACTOR = 30  # empty JSON lists are the worst: three bytes in the file, 80 in memory


def integers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to every integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from integers(item, (*path, key))


def peak(raw: bytes) -> int:
    tracemalloc.start()
    try:
        with contextlib.suppress(GossamerError):
            packed_file.read(raw)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def rebuilt(manifest: Any) -> bytes:
    _, tensors = container.parse(FILE.read_bytes())
    text = json.dumps(manifest)
    metadata = {"gossamer": text, "gossamer_crc32": packed_file.checksum(text.encode())}
    return b"".join(container.assemble(metadata, tensors))


@pytest.mark.parametrize("claim", [2**20, 2**31 - 8])
def test_every_integer_may_claim_much(claim: int):
    text = container.parse(FILE.read_bytes())[0]["gossamer"]
    for path in integers(json.loads(text)):
        manifest = json.loads(text)
        parent = manifest
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = claim
        raw = rebuilt(manifest)
        assert peak(raw) < FACTOR * len(raw), path


def test_the_header_may_claim_much():
    raw = FILE.read_bytes()
    for length in (2**20, 2**40, 2**63, 2**64 - 1):
        assert peak(length.to_bytes(8, "little") + raw[8:]) < FACTOR * len(raw)


@pytest.mark.parametrize("filling", ["[]", "{}", '""', "0", "1.5", '{"a":[]}'])
def test_the_manifest_may_be_long(filling: str):
    manifest = json.loads(container.parse(FILE.read_bytes())[0]["gossamer"])
    manifest["recipe"] = {"a": [json.loads(filling)] * 50_000}
    raw = rebuilt(manifest)
    assert peak(raw) < 2 * FACTOR * len(raw)
