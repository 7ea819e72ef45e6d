"""Schedules: pure functions from an optimizer step to a number.

Every constructor returns a function of the step alone. Before `begin` it returns the first value, from `end` on the last one: the end is
reached *at* `end`, not one step before or after. A schedule is used for sparsities, drop fractions and temperatures alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from gossamer.errors import MethodError

Schedule = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same number at every step.

    >>> schedule = constant(0.3)
    >>> schedule(0), schedule(10**9)
    (0.3, 0.3)
    """
    return lambda step: value


def linear(initial: float, final: float, *, end: int, begin: int = 0) -> Schedule:
    """A straight line from `initial` at `begin` to `final` at `end`.

    >>> schedule = linear(0.0, 0.8, begin=10, end=20)
    >>> [schedule(step) for step in (0, 10, 15, 20, 99)]
    [0.0, 0.0, 0.4, 0.8, 0.8]
    """
    return _ramp(initial, final, begin, end, lambda x: x)


def cosine(initial: float, final: float = 0.0, *, end: int, begin: int = 0) -> Schedule:
    """Half a cosine wave: flat at both ends. RigL's drop fraction is cosine(0.3, end=T).

    >>> schedule = cosine(0.3, end=100)
    >>> [round(schedule(step), 4) for step in (0, 1, 50, 99, 100, 101)]
    [0.3, 0.2999, 0.15, 0.0001, 0.0, 0.0]
    """
    return _ramp(initial, final, begin, end, lambda x: (1 - math.cos(math.pi * x)) / 2)


def cubic(initial: float, final: float, *, end: int, begin: int = 0) -> Schedule:
    """Gradual magnitude pruning: final + (initial - final) (1 - x)^3, fast first, slow where weights become scarce.

    >>> schedule = cubic(0.0, 0.9, begin=100, end=200)
    >>> [round(schedule(step), 4) for step in (0, 100, 101, 150, 199, 200, 201)]
    [0.0, 0.0, 0.0267, 0.7875, 0.9, 0.9, 0.9]
    """
    return _ramp(initial, final, begin, end, lambda x: 1 - (1 - x) ** 3)


def piecewise(values: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """Constant pieces: `values[i]` from boundary i - 1 (inclusive) to boundary i (exclusive).

    >>> schedule = piecewise([0.5, 0.8, 0.9], [10, 20])
    >>> [schedule(step) for step in (0, 9, 10, 19, 20)]
    [0.5, 0.5, 0.8, 0.8, 0.9]
    """
    if len(values) != len(boundaries) + 1 or any(a >= b for a, b in pairwise(boundaries)):
        raise MethodError(
            f"piecewise: expected one value more than ascending boundaries, got {len(values)} values and boundaries {list(boundaries)}"
        )
    steps, numbers = tuple(boundaries), tuple(values)
    return lambda step: numbers[sum(boundary <= step for boundary in steps)]


def periodic(cycle: Schedule, *, period: int) -> Schedule:
    """`cycle` over and over: its step is the step since the period began.

    >>> schedule = periodic(linear(1.0, 0.0, end=4), period=5)
    >>> [schedule(step) for step in (0, 1, 4, 5, 9, 10)]
    [1.0, 0.75, 0.0, 1.0, 0.0, 1.0]
    """
    if period < 1:
        raise MethodError(f"periodic: expected a period of at least 1 step, got {period}")
    return lambda step: cycle(step % period)


def _ramp(initial: float, final: float, begin: int, end: int, shape: Callable[[float], float]) -> Schedule:
    if end < begin:
        raise MethodError(f"schedule: expected end at or after begin, got begin {begin} and end {end}")

    def at(step: int) -> float:
        if step >= end:
            return final
        if step <= begin:
            return initial
        return initial + (final - initial) * shape((step - begin) / (end - begin))

    return at
