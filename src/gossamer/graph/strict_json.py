"""JSON as the packed file allows it: RFC 8259, narrowed until every reader must agree on what is valid.

Rules (docs/formats/packed-file.md, "JSON dialect"): no duplicate key, nesting at most 32 deep, integers of magnitude at most 2^53 - 1,
other numbers finite as float64, no lone surrogates, no byte-order mark. The depth is found by a scan before the parser runs, so that it
never depends on Python's recursion limit.

>>> loads('{"a": [1, 2.5, -0]}')
{'a': [1, 2.5, 0]}
>>> loads('{"a": 1, "a": 2}')
Traceback (most recent call last):
    ...
gossamer.errors.FormatError: JSON: expected distinct keys in an object, got "a" twice
>>> loads('[9007199254740992]')
Traceback (most recent call last):
    ...
gossamer.errors.FormatError: JSON: expected an integer of magnitude at most 2^53 - 1, got 9007199254740992
"""

import json
import math
import re
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from gossamer.errors import FormatError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def loads(text: str | bytes) -> Json:
    """The value that `text` (bytes: UTF-8) holds; FormatError says what breaks the dialect."""
    try:
        raw = text.encode("utf-8") if isinstance(text, str) else text
        decoded = raw.decode("utf-8")
    except UnicodeEncodeError:
        raise _surrogate() from None
    except UnicodeDecodeError as error:
        raise FormatError(
            f"JSON: expected UTF-8, got byte 0x{raw[error.start]:02x} at {error.start}"
        ) from None
    _check_depth(raw)
    try:
        value: Json = _DECODER.decode(decoded)
    except json.JSONDecodeError as error:
        raise FormatError(f"JSON: {error}") from None
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _surrogate() from None
    return value


def dumps(value: Json) -> str:
    """Compact text of `value`, checked by reading it back: what is written can be read.

    >>> dumps({"b": 1, "a": [0.5, "x"]})
    '{"b":1,"a":[0.5,"x"]}'
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(
            f"JSON: expected numbers, strings, lists and objects with string keys, got: {error}"
        ) from None
    loads(text)
    return text


def _surrogate() -> FormatError:
    return FormatError("JSON: expected strings of whole characters, got a lone surrogate")


def _check_depth(raw: bytes) -> None:
    marks = np.frombuffer(_STRING.sub(b"", raw), dtype=np.uint8)
    step = np.zeros(marks.size, dtype=np.int8)
    step[(marks == ord("[")) | (marks == ord("{"))] = 1
    step[(marks == ord("]")) | (marks == ord("}"))] = -1
    deepest = int(np.cumsum(step, dtype=np.int32).max(initial=0))
    if deepest > MAX_DEPTH:
        raise FormatError(f"JSON: expected nesting at most {MAX_DEPTH} deep, got {deepest}")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise FormatError(f"JSON: expected an integer of magnitude at most 2^53 - 1, got {text[:40]}")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise FormatError(f"JSON: expected a number finite as float64, got {text[:40]}")
    return value


def _constant(text: str) -> float:
    raise FormatError(f"JSON: expected a finite number, got {text}")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = sorted(key for key, _ in pairs)
        twice = next(key for key, after in pairwise(keys) if key == after)
        raise FormatError(f"JSON: expected distinct keys in an object, got {json.dumps(twice)} twice")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant, strict=True
)
