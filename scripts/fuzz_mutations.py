"""Mutations of a packed file: of raw bytes, and of its structure with lengths and checksums made right again.

Every mutation draws from the random generator it is given, so a seed and an index name a file for ever.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from typing import Any

from fuzz_parts import Parts

ITEM = {"U8": 1, "U16": 2, "F16": 2, "F32": 4}
ODD: list[Any] = [
    *(0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 63, 64, 65, 255, 256, 257, 4095, 4096, 4097, 65536, 65537, -1),
    *(2**31 - 1, 2**31, 2**32, 2**40, 2**53 - 1, 2**53, 2**63, 2**64, 0.0, 1.0, 1.5, -0.0, 1e-5, 1e300),
    *(True, False, None, "", "x", "n", "y", "é", "a" * 256, "a" * 257, "values", "relu", "none", "tanh"),
    *([], {}, [1], [1, 1], [1, 2, 3, 4], {"min": 1, "max": 1}),
    *(
        "s",
        "int64",
        "add",
        "keep",
        "reflect",
        "nearest",
        ["s"],
        ["s", -1],
        [-1],
        [2, 1],
        [1, 2],
        [0, 0],
        [-1.0, -1],
    ),
    *("float32", "float16", "dense", "unstructured", "F16", "F32", "U8", "U16"),
]


# Spellings of a number, and what may stand in place of the manifest's last brace.
NUMBERS = b"-0 0 1 8 1.0 1e0 1E+0 01 +1 0x1 1. .5 1e999 1e-999 NaN Infinity -Infinity 9007199254740991 9007199254740992 null".split()
NUMBERS += [b"1" * 400, b"1" * 5000]
ENDINGS = [
    b', "versions": {"a": 1, "a": 2}}',
    b', "versions": {"a": 1, "\\u0061": 2}}',
    b', "versions": {"\\ud800": 1}}',
    b', "license": null}',
    b', "labels": [1]}',
    b', "labels": []}',
    b', "library": "again"}',
    b"}}",
    b"} x",
    b"}  ",
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values inside `value`."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def odd(rng: random.Random) -> Any:
    """A value of its own, so that a later change of it leaves ODD alone."""
    return copy.deepcopy(rng.choice(ODD))


def change_value(tree: Any, rng: random.Random) -> None:
    """One random change of a JSON tree: another value, a neighbour's value, a key less, more or renamed, an element twice."""
    paths = places(tree)
    if not paths:
        return
    path = rng.choice(paths)
    parent, key = at(tree, path[:-1]), path[-1]
    how = rng.randrange(8)
    if how <= 2:
        old = parent[key]
        number = isinstance(old, int) and not isinstance(old, bool)
        parent[key] = old + rng.choice([-2, -1, 1, 2, old]) if number and rng.random() < 0.7 else odd(rng)
    elif how == 3:
        del parent[key]
    elif how <= 5:
        parent[key] = copy.deepcopy(at(tree, rng.choice(paths)))
    elif isinstance(parent, list):
        parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(rng.choice([parent[key], odd(rng)])))
    elif how == 6:
        parent[rng.choice(["x", "", "min", "weight", "bias", "groups", "license", "states", "a" * 257])] = (
            rng.choice(ODD)
        )
    else:
        parent[rng.choice(["z", "é", "a" * 256, str(key).upper()])] = parent.pop(key)


def raw_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut, doubled, appended, or another length in front."""
    out = bytearray(raw)
    how = rng.randrange(7)
    if how <= 2:
        for _ in range(rng.choice([1, 1, 2, 8])):
            at_byte = rng.randrange(len(out))
            out[at_byte] = rng.choice(
                [0, 255, 34, 44, 92, 123, rng.randrange(256), out[at_byte] ^ (1 << rng.randrange(8))]
            )
    elif how == 3:
        del out[rng.randrange(len(out)) :]
    elif how == 4:
        begin = rng.randrange(len(out))
        del out[begin : begin + rng.choice([1, 2, 4, 50])]
    elif how == 5:
        begin = rng.randrange(len(out) + 1)
        out[begin:begin] = rng.choice([b"\0", b" ", out[:8], bytes(out[begin : begin + 20])])
    else:
        out[:8] = rng.choice(
            [0, 1, 2, len(raw) - 8, len(raw) - 7, 10**8, 10**8 + 1, 2**63, 2**64 - 1, 2**64 - 8]
        ).to_bytes(8, "little")
    return bytes(out)


def manifest_text(raw: bytes, rng: random.Random) -> bytes:
    """The manifest's text changed as a text (spelling of numbers and strings, white space, broken JSON), checksum right."""
    parts = Parts.of(raw)
    text = bytearray(json.dumps(parts.manifest, ensure_ascii=False).encode())
    for _ in range(rng.choice([1, 1, 2])):
        at_byte = rng.randrange(len(text) + 1)
        how = rng.randrange(8)
        digits = [i for i, byte in enumerate(text) if 48 <= byte <= 57]
        if how == 0:
            text[at_byte:at_byte] = rng.choice(
                [
                    b" ",
                    b"\n\t",
                    b"\r",
                    b"\x0b",
                    b"\0",
                    b"\xff",
                    b"\xc3",
                    "é".encode(),
                    b"\xed\xa0\x80",
                    b"\xef\xbb\xbf",
                ]
            )
        elif how == 1:
            text[at_byte:at_byte] = rng.choice(
                [
                    b"\\u0041",
                    b"\\ud83d\\ude00",
                    b"\\ud800",
                    b"\\udc00",
                    b"\\u12",
                    b"\\x",
                    b"\\/",
                    b"\\n",
                    b'"',
                    b",",
                ]
            )
        elif how <= 4 and digits:
            digit = rng.choice(digits)
            text[digit : digit + 1] = rng.choice(NUMBERS)
        elif how == 5:
            depth = rng.choice([27, 28, 29, 30, 31, 32, 33, 2000])
            text[-1:] = b', "recipe": {"a": ' + b"[" * depth + b"]" * depth + b"}}"
        elif how == 6:
            text[-1:] = rng.choice(ENDINGS)
        elif at_byte < len(text):
            del text[at_byte : at_byte + rng.choice([1, 2, 10])]
    parts.text = bytes(text)
    return parts.assemble()


def manifest_tree(raw: bytes, rng: random.Random) -> bytes:
    parts = Parts.of(raw)
    tree = rng.choice(
        [
            parts.manifest,
            parts.manifest["network"],
            parts.manifest["network"]["nodes"],
            parts.manifest["weights"],
        ]
    )
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        change_value(tree, rng)
    return parts.assemble()


def header_tree(raw: bytes, rng: random.Random) -> bytes:
    parts = Parts.of(raw)
    how = rng.randrange(6)
    if how == 0:
        parts.metadata = rng.choice(
            [
                {"gossamer_crc32": "00000000"},
                {"gossamer_crc32": None},
                {"other": "free"},
                {"other": 1},
                {"gossamer": "{}"},
                {"é": "é"},
            ]
        )
    elif how == 1:
        parts.padding = rng.choice([b" ", b"        ", b"\n", b"\t", b"\0", b"x", b" {}"])
    elif how == 2:
        parts.header[rng.choice(["more", "", "w.values "])] = {
            "dtype": "U8",
            "shape": rng.choice([[0], [], [2**52, 2**52, 0], [1]]),
            "data_offsets": [0, 0],
        }
    else:
        change_value(parts.header, rng)
    return parts.assemble()


def tensor_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Data of tensors changed, with right checksums: what only the rules of the formats can find."""
    parts = Parts.of(raw)
    names = [name for name, data in parts.data.items() if data]
    for _ in range(rng.choice([1, 1, 2, 3])):
        if not names:
            return parts.assemble()
        small = [name for name in names if parts.header[name]["dtype"] == "U8"]
        name = rng.choice(small if small and rng.random() < 0.8 else names)
        data = bytearray(parts.data[name])
        index = rng.randrange(len(data))
        data[index] = rng.choice(
            [
                0,
                1,
                2,
                254,
                255,
                0x7C,
                0x7F,
                0xFC,
                rng.randrange(256),
                data[index] ^ (1 << rng.randrange(8)),
                (data[index] + 1) % 256,
            ]
        )
        if rng.random() < 0.1:
            other = rng.randrange(len(data))
            data[index], data[other] = data[other], data[index]
        parts.data[name] = bytes(data)
    parts.fix_checksums()
    return parts.assemble()


def tensor_size(raw: bytes, rng: random.Random) -> bytes:
    """Tensors longer, shorter or reshaped, with offsets and checksums right; sometimes the weight's shape follows."""
    parts = Parts.of(raw)
    if not parts.data:
        return parts.assemble()
    for name in rng.sample(list(parts.data), rng.choice([1, 1, min(2, len(parts.data))])):
        tensor, data = parts.header[name], parts.data[name]
        item = ITEM[tensor["dtype"]]
        row = item * math.prod(tensor["shape"][1:])
        how = rng.randrange(5)
        if how == 0:
            data = data[: max(0, len(data) - row)]
        elif how == 1:
            data += rng.choice(
                [bytes(row), b"\xff" * row, data[:row].ljust(row, b"\0"), b"\xff" * (row * 10)]
            )
        elif how == 2:
            data = b""
        elif how == 3:
            tensor["shape"] = rng.choice(
                [
                    [len(data) // item],
                    [1, *tensor["shape"]],
                    [*tensor["shape"], 1],
                    [1] * 8,
                    tensor["shape"][::-1],
                ]
            )
        else:
            tensor["dtype"] = rng.choice(list(ITEM))
        if how <= 2:
            tensor["shape"] = [len(data) // row if row else 0, *tensor["shape"][1:]]
        parts.data[name] = data
    if rng.random() < 0.5:
        weight = rng.choice(list(parts.manifest["weights"].values()))
        side = rng.randrange(len(weight["shape"]))
        weight["shape"][side] = rng.choice(
            [
                weight["shape"][side] + 1,
                weight["shape"][side] * 2,
                weight["shape"][side] + 8,
                2**31 - 1,
                2**20,
            ]
        )
    parts.fix_offsets()
    parts.fix_checksums()
    return parts.assemble()


def parameters(raw: bytes, rng: random.Random) -> bytes:
    """Other parameters, shapes, formats of one weight; other attributes of one node; another range of the free dimension."""
    parts = Parts.of(raw)
    network = parts.manifest["network"]
    targets = [weight["parameters"] for weight in parts.manifest["weights"].values()]
    targets += [{"shape": weight["shape"]} for weight in parts.manifest["weights"].values()]
    targets += [node["attributes"] for node in network["nodes"]] * 3
    targets += [*network["dims"].values(), {"shape": network["inputs"][0]["shape"]}]
    targets += [{"states": network["states"]}] if "states" in network else []
    targets += [{"inputs": node["inputs"]} for node in network["nodes"]]
    change_value(rng.choice([target for target in targets if places(target)]), rng)
    return parts.assemble()


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    *(raw_bytes, manifest_text, manifest_tree, manifest_tree, header_tree, tensor_size),
    *(
        tensor_bytes,
        tensor_bytes,
        tensor_bytes,
        parameters,
        parameters,
    ),  # the more often, the deeper they reach
]


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """One random mutation; a structural one is now and then followed by one of raw bytes."""
    out = rng.choice(MUTATIONS)(raw, rng)
    return raw_bytes(out, rng) if rng.random() < 0.02 and out else out
