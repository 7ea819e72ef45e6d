"""What SET and RigL share: every so often, each layer exchanges a fraction of its active weights for as many absent ones.

They differ in how the fraction changes over time and in what grows.
"""

from typing import Protocol

from gossamer.errors import MethodError
from gossamer.sparsity.criteria import CRITERIA
from gossamer.sparsity.growth import Growth, Random
from gossamer.sparsity.patterns import NOfM
from gossamer.sparsity.schedules import Schedule
from gossamer.training.edits import Edit, Unchanged, WithoutFraction
from gossamer.training.methods.method import (
    INITIAL,
    Method,
    check_flags,
    check_settings,
    check_steps,
    starting_edits,
)


class Exchange(Method, Protocol):
    """A method of this kind, by its settings."""

    @property
    def drop_fraction(self) -> float: ...

    @property
    def every(self) -> int: ...

    @property
    def stop(self) -> int: ...

    @property
    def exclude_dropped(self) -> bool: ...


def check_exchange(method: Exchange) -> None:
    """Refuses settings that cannot be meant."""
    check_steps(method, every=method.every, stop=method.stop)
    pattern, initial, drop_fraction = check_settings(method), method.initial, method.drop_fraction
    who = type(method).__name__
    check_flags(who, exclude_dropped=method.exclude_dropped)
    if initial not in INITIAL:
        raise MethodError(f"{who}: expected initial to be one of {', '.join(INITIAL)}, got {initial!r}")
    given: object = drop_fraction
    if isinstance(given, str):
        raise MethodError(f"{who}: drop_fraction: expected a number, got the text {given!r}")
    if not 0 < drop_fraction < 1:
        raise MethodError(
            f"{who}: expected drop_fraction in (0, 1), a part of the active weights, got {drop_fraction:g}"
        )
    if method.allocation == "global_rank":
        raise MethodError(
            f"{who} keeps the count of every layer, and starts from masks that know no scores: expected allocation uniform or erk, "
            "got global_rank"
        )
    if isinstance(pattern, NOfM) and (pattern.n == 1 or drop_fraction * pattern.n < 0.5):
        raise MethodError(
            f"{who} on {pattern}: a step from {pattern} to a legal mask with fewer entries drops at least 1 of {pattern.n} in every "
            f"group, which a drop fraction of {drop_fraction:g} never reaches"
            + (
                ": with N = 1 it would exchange the whole layer at once; use "
                if pattern.n == 1
                else "; raise drop_fraction, or use "
            )
            + "gradual, one_shot or static with this pattern"
        )


def last_exchange(method: Exchange) -> int:
    """The step of the last exchange, 0 if there is none."""
    return max(0, (method.stop - 1) // method.every * method.every)


def exchange_edits(
    method: Exchange, step: int, fraction: Schedule, grow_by: Growth | Random
) -> tuple[Edit, ...]:
    """The first masks at step 0, and an exchange at multiples of `every` before `stop`."""
    if step == 0:
        return starting_edits(method)
    if step % method.every or not 0 < step < method.stop:
        return ()
    return (
        Edit(
            drop_to=WithoutFraction(fraction(step)),
            drop_by=CRITERIA[method.criterion],
            grow_to=Unchanged(),
            grow_by=grow_by,
            exclude_dropped=method.exclude_dropped,
        ),
    )
