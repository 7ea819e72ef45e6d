"""Attributes of nodes: the checks that operators declare, and typed access to values that were checked.

>>> whole(1, 7)(8, 'node "a" (softmax) axis')
Traceback (most recent call last):
    ...
gossamer.errors.GraphError: node "a" (softmax) axis: expected an integer from 1 to 7, got 8
"""

from itertools import pairwise

from gossamer.errors import GraphError
from gossamer.graph.fields import MAX_SIZE, array, integer, show
from gossamer.graph.network import MAX_RANK, Node
from gossamer.graph.operators.base import Check
from gossamer.graph.strict_json import MAX_INTEGER, Json

MAX_AXES = MAX_RANK - 1  # behind the batch
MAX_SCALE = 65536


def whole(low: int, high: int) -> Check:
    """An integer from `low` to `high`."""

    def check(value: Json, where: str) -> None:
        integer(value, where, low, high)

    return check


def whole_or_null(low: int, high: int) -> Check:
    """An integer from `low` to `high`, or null."""

    def check(value: Json, where: str) -> None:
        if value is not None:
            integer(value, where, low, high)

    return check


def wholes(count: int, low: int, high: int) -> Check:
    """An array of exactly `count` integers."""

    def check(value: Json, where: str) -> None:
        if not isinstance(value, list) or len(value) != count:
            raise GraphError(f"{where}: expected an array of {count} integers, got {show(value)}")
        for item in value:
            integer(item, where, low, high)

    return check


def per_axis(low: int, high: int) -> Check:
    """An array of one integer for each axis behind the batch."""

    def check(value: Json, where: str) -> None:
        found = array(value, where)
        if not 1 <= len(found) <= MAX_AXES:
            raise GraphError(f"{where}: expected 1 to {MAX_AXES} integers, got {show(value)}")
        for item in found:
            integer(item, where, low, high)

    return check


def axes(value: Json, where: str) -> None:
    """An array of ascending, distinct axes, at least one."""
    per_axis(1, MAX_AXES)(value, where)
    found = array(value, where)
    if any(not before < after for before, after in pairwise(found)):  # type: ignore[operator]
        raise GraphError(f"{where}: expected ascending, distinct axes, got {show(value)}")


def axis_order(value: Json, where: str) -> None:
    """The axes from 1 on, each once, in any order."""
    per_axis(1, MAX_AXES)(value, where)
    found = array(value, where)
    if sorted(found) != list(range(1, len(found) + 1)):  # type: ignore[type-var]
        raise GraphError(f"{where}: expected each axis from 1 to {len(found)} once, got {show(value)}")


def sizes(*, rest: bool) -> Check:
    """A shape behind the batch: integers, the length symbol (checked where the network is known), with `rest` one -1 at most."""

    def check(value: Json, where: str) -> None:
        found = array(value, where)
        if len(found) > MAX_AXES:
            raise GraphError(f"{where}: expected at most {MAX_AXES} sizes, got {show(value)}")
        left = 0
        for item in found:
            if rest and isinstance(item, int) and item == -1:
                left += 1
            elif not isinstance(item, str):
                integer(item, where, 1, MAX_SIZE)
        if left > 1:
            raise GraphError(f"{where}: expected at most one -1, got {show(value)}")

    return check


def boolean(value: Json, where: str) -> None:
    """A boolean."""
    if not isinstance(value, bool):
        raise GraphError(f"{where}: expected true or false, got {show(value)}")


def number(value: Json, where: str) -> None:
    """Any number of the JSON dialect."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GraphError(f"{where}: expected a number, got {show(value)}")


def number_or_null(value: Json, where: str) -> None:
    """A number or null."""
    if value is not None:
        number(value, where)


def positive(value: Json, where: str) -> None:
    """A number greater than 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise GraphError(f"{where}: expected a number greater than 0, got {show(value)}")


def two_scales(value: Json, where: str) -> None:
    """Two numbers greater than 0, of at most 65536."""
    found = array(value, where)
    if len(found) != 2:
        raise GraphError(f"{where}: expected two numbers, got {show(value)}")
    for item in found:
        positive(item, where)
        if item > MAX_SCALE:  # type: ignore[operator]
            raise GraphError(f"{where}: expected numbers of at most {MAX_SCALE}, got {show(value)}")


def one_of(*choices: str) -> Check:
    """A string out of `choices`."""

    def check(value: Json, where: str) -> None:
        if value not in choices:
            raise GraphError(f"{where}: expected one of {show(list(choices))}, got {show(value)}")

    return check


AXIS = whole(1, MAX_AXES)
ANY_WHOLE = whole(-MAX_INTEGER, MAX_INTEGER)


def int_attribute(node: Node, key: str) -> int:
    """An integer that was checked."""
    value = node.attributes[key]
    assert isinstance(value, int)
    return value


def int_list(node: Node, key: str) -> tuple[int, ...]:
    """An array of integers that was checked."""
    value = node.attributes[key]
    assert isinstance(value, list | tuple)
    return tuple(item for item in value if isinstance(item, int))


def number_attribute(node: Node, key: str) -> float:
    """A number that was checked."""
    value = node.attributes[key]
    assert isinstance(value, int | float)
    return float(value)


def number_list(node: Node, key: str) -> tuple[float, ...]:
    """An array of numbers that was checked."""
    value = node.attributes[key]
    assert isinstance(value, list | tuple)
    return tuple(float(item) for item in value if isinstance(item, int | float))
