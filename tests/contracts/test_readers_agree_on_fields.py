"""Every field of a manifest replaced by every kind of value, removed, or joined by a stranger: both readers give one verdict.

Mutated bytes rarely pass the checksums; here the checksums are made right again, so that the rules behind them are compared.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossamer.errors import FormatError, GraphError
from gossamer.formats import container, packed_file

_native = pytest.importorskip("gossamer._native")
pytestmark = pytest.mark.native

DATA = Path(__file__).parents[1] / "data" / "packed"
VALUES = (
    None, True, False, 0, -1, -2, 1, 2, 3, 5, 2**31 - 1, 2**31, 2**53 - 1, 1.0, 1.5, 1e-320, "", "x", "n", "\0", "a" * 256,
    "a" * 257, "é" * 128, "é" * 129, "dense", "float32", "relu", [], {}, [1], ["x"], [1, 1], [0, 0, 0, 0], {"x": 1},
    "s", "int64", ["s"], ["s", -1], [-1, -1], [1.5, 1], [2, 1], -(2**53) + 1, "keep", "h",
)  # fmt: skip
JSON = (
    "1e999", "1e-999", "9007199254740991", "9007199254740992", "-0", "01", "1.", '"\\ud800"', '"\\ud83d\\ude00"', "NaN",
    '{"a":1,"\\u0061":2}', "[" * 30 + "]" * 30, "[" * 31 + "]" * 31, '"\\u0000"', '"\t"', "[1,]", "\u00a01",
)  # fmt: skip


def verdict(raw: bytes) -> tuple[str, str]:
    """What the NumPy reader and the native one say."""
    try:
        packed_file.read(raw)
        first = "accepted"
    except FormatError:
        first = "format"
    except GraphError:
        first = "graph"
    try:
        _native.File(raw)
        second = "accepted"
    except _native.Error as error:
        second = next(name for name, kind in _native.KINDS.items() if kind == error.kind)
    return first, second


@pytest.fixture(params=["version_1", "version_2"], scope="module")
def file(request) -> bytes:
    return (DATA / f"{request.param}.safetensors").read_bytes()


def rebuilt(file: bytes, text: str) -> bytes:
    _, tensors = container.parse(file)
    crc = packed_file.checksum(text.encode())
    return b"".join(container.assemble({"gossamer": text, "gossamer_crc32": crc}, tensors))


def manifest(file: bytes) -> Any:
    return json.loads(container.parse(file)[0]["gossamer"])


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to every field; of long arrays of nodes only the first of each op, of weights only two."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    seen: set[str] = set()
    for key, item in items:
        op = item.get("op", item.get("format", key)) if isinstance(item, dict) else key
        if op not in seen:
            yield from paths(item, (*path, key))
        seen.add(op)


def test_unchanged(file: bytes):
    assert verdict(rebuilt(file, json.dumps(manifest(file)))) == ("accepted", "accepted")


@pytest.mark.parametrize("part", ["top", "network", "nodes", "weights"])
def test_fields(file: bytes, part: str):
    whole = manifest(file)
    chosen = {
        "top": [p for p in paths(whole) if p[0] not in ("network", "weights")],
        "network": [p for p in paths(whole) if p[0] == "network" and p[1:2] != ("nodes",)],
        "nodes": [p for p in paths(whole) if p[:2] == ("network", "nodes")][::3],
        "weights": [p for p in paths(whole) if p[0] == "weights"][::3],
    }[part]
    differ = []
    for path in chosen:
        for change in (*VALUES, "remove", "join"):
            changed = copy.deepcopy(whole)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            if change == "remove":
                del parent[path[-1]]
            elif change == "join" and isinstance(parent, dict):
                parent["stranger"] = 1
            else:
                parent[path[-1]] = change
            found = verdict(rebuilt(file, json.dumps(changed)))
            if found[0] != found[1]:
                differ.append((path, change, found))
    assert differ == []


@pytest.mark.parametrize("text", JSON, ids=lambda text: repr(text[:20]))
def test_dialect(file: bytes, text: str):
    first, second = verdict(rebuilt(file, json.dumps(manifest(file))[:-1] + f', "recipe": {{"x": {text}}}}}'))
    assert first == second
