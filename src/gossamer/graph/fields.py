"""Typed access to the fields of JSON objects, with errors that say where, what was expected and what was found.

>>> member({"a": 1}, "dims", keys=("a", "b"))
Traceback (most recent call last):
    ...
gossamer.errors.GraphError: dims: expected the key "b", got the keys ["a"]
"""

import json
from collections.abc import Collection, Mapping

from gossamer.errors import GraphError
from gossamer.graph.strict_json import Json

MAX_SIZE = 2**31 - 1
MAX_NAME_BYTES = 256


def show(value: object) -> str:
    """A value as it would stand in the file, cut to 80 characters."""
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def member(
    value: Json, where: str, *, keys: Collection[str], optional: Collection[str] = ()
) -> Mapping[str, Json]:
    """`value` as an object that has all of `keys` and nothing beyond `keys` and `optional`."""
    found = mapping(value, where)
    for key in keys:
        if key not in found:
            raise GraphError(f'{where}: expected the key "{key}", got the keys {show(sorted(found))}')
    for key in found:
        if key not in keys and key not in optional:
            raise GraphError(f"{where}: expected only the keys {show([*keys, *optional])}, got {show(key)}")
    return found


def mapping(value: Json, where: str) -> Mapping[str, Json]:
    """`value` as an object."""
    if not isinstance(value, dict):
        raise GraphError(f"{where}: expected an object, got {show(value)}")
    return value


def array(value: Json, where: str) -> list[Json]:
    """`value` as an array."""
    if not isinstance(value, list):
        raise GraphError(f"{where}: expected an array, got {show(value)}")
    return value


def string(value: Json, where: str) -> str:
    """`value` as a string."""
    if not isinstance(value, str):
        raise GraphError(f"{where}: expected a string, got {show(value)}")
    return value


def name(value: Json, where: str) -> str:
    """`value` as a name: 1 to 256 bytes of UTF-8."""
    text = string(value, where)
    if not 1 <= len(text.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES:
        raise GraphError(f"{where}: expected a name of 1 to {MAX_NAME_BYTES} bytes, got {show(text)}")
    return text


def integer(value: Json, where: str, low: int, high: int = MAX_SIZE) -> int:
    """`value` as an integer (never a boolean, never 2.0) from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise GraphError(f"{where}: expected an integer from {low} to {high}, got {show(value)}")
    return value
