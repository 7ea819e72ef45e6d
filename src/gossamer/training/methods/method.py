"""What every method is: a frozen record of its settings, and a pure schedule of edits.

Steps count finished optimizer steps. `edits_at(0)` happens before the first one; `edits_at(k)` right after the k-th update. The engine
(`gossamer.training.engine`) holds all state; two methods with equal settings are equal objects and give equal edits. A method that runs in
parts, some of which begin with a fresh optimizer, has a second function, `stages()`.
"""

from collections.abc import Iterable
from numbers import Integral
from typing import Annotated, Protocol, runtime_checkable

from gossamer.errors import BudgetError, MethodError
from gossamer.sparsity.allocation import ALLOCATIONS
from gossamer.sparsity.criteria import CRITERIA
from gossamer.sparsity.growth import Random
from gossamer.sparsity.patterns import NOfM, Pattern, parse_pattern
from gossamer.training.edits import AtSparsity, Edit
from gossamer.training.stages import Stage
from gossamer.units import checked_sparsity

Steps = Annotated[int, "optimizer steps"]
"""The type of a setting that counts optimizer steps: there a recipe may also write `60%` or `3 epochs`."""


class Method(Protocol):
    """One way to find zeros. `sparsity` is the network's in the end; None where the pattern or given masks fix it."""

    @property
    def sparsity(self) -> float | None: ...

    @property
    def pattern(self) -> str: ...

    @property
    def allocation(self) -> str: ...

    @property
    def criterion(self) -> str:
        """The criterion that ranks active weights; `global_rank` allocations use it too."""
        ...

    @property
    def initial(self) -> str:
        """The masks before the first step: "dense", "random", "magnitude" or "given"."""
        ...

    @property
    def last_edit(self) -> int:
        """The step of the last edit; 0 for fixed masks. From there on the budget is met and the masks are final."""
        ...

    @property
    def grows(self) -> bool:
        """True if entries may come back: then optimizer state must be reset entry by entry."""
        ...

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        """The edits after this many optimizer steps; () at almost every step."""
        ...


@runtime_checkable
class KnowsItsSteps(Protocol):
    """What a method has beside the rest that can name its edit steps, so that a million steps need not be asked one by one."""

    def edit_steps(self) -> Iterable[int]:
        """Ascending, from 0 to `last_edit`: `edits_at` is () at all others."""
        ...


def edit_steps_of(method: Method) -> Iterable[int]:
    """The steps at which a method may edit; every one up to its last edit, if it does not know better.

    >>> from gossamer.training.methods import SET
    >>> list(edit_steps_of(SET(sparsity=0.9, every=100, stop=400)))
    [0, 100, 200, 300]
    """
    return method.edit_steps() if isinstance(method, KnowsItsSteps) else range(method.last_edit + 1)


@runtime_checkable
class Staged(Protocol):
    """What a method that runs in stages has beside the rest."""

    def stages(self) -> tuple[Stage, ...]:
        """Its parts, in order, from step 0 on."""
        ...


def stages_of(method: Method) -> tuple[Stage, ...]:
    """The stages of a method; () for one that has none."""
    return method.stages() if isinstance(method, Staged) else ()


@runtime_checkable
class BoundInBytes(Protocol):
    """What a method that plans by bytes has beside the rest."""

    @property
    def peak_bytes(self) -> int | None:
        """The bound; None where there is none."""
        ...

    @property
    def states(self) -> int:
        """The optimizer tensors a weight that it was planned with."""
        ...


INITIAL = ("random", "magnitude", "given")


def check_settings(method: Method) -> Pattern:
    """The pattern of `method`, if sparsity, pattern, allocation and criterion are possible together."""
    who = type(method).__name__
    pattern = parse_pattern(method.pattern)
    if method.allocation not in (*ALLOCATIONS, "global_rank"):
        known = ", ".join((*ALLOCATIONS, "global_rank"))
        raise MethodError(f"{who}: expected allocation to be one of {known}, got {method.allocation!r}")
    if method.criterion not in CRITERIA:
        raise MethodError(
            f"{who}: expected criterion to be one of {', '.join(CRITERIA)}, got {method.criterion!r}"
        )
    if method.sparsity is not None:
        checked_sparsity(method.sparsity, name=f"{who}: sparsity")
    if method.initial == "given":
        if method.sparsity is not None:
            raise MethodError(
                f"{who}: expected no sparsity with initial='given', because the masks fix it; got {method.sparsity:g}"
            )
    elif isinstance(pattern, NOfM):
        fixed = 1 - pattern.n / pattern.m
        if method.sparsity is not None and abs(method.sparsity - fixed) > 1e-9:
            raise BudgetError(
                f"{who}: the pattern {pattern} fixes the sparsity of its layers at {fixed:g}, got sparsity {method.sparsity:g}; "
                "leave sparsity out, or choose a pattern with a free sparsity"
            )
    elif method.sparsity is None:
        raise BudgetError(f"{who}: expected a sparsity such as 0.9 for the pattern {pattern}, got none")
    return pattern


def final_sparsity(method: Method) -> float | None:
    """The network sparsity to allocate: None where the pattern fixes it, even if the user has repeated its number."""
    return None if isinstance(parse_pattern(method.pattern), NOfM) else method.sparsity


def check_steps(method: Method, *, every: int, stop: int, start: int = 0) -> None:
    """Refuses intervals that cannot be meant."""
    who = type(method).__name__
    check_is_step(who, every=every, start=start, stop=stop)
    if every < 1:
        raise MethodError(f"{who}: expected every to be at least 1 step, got {every}")
    if start < 0:
        raise MethodError(f"{who}: expected start at step 0 or later, got {start}")
    if stop < start:
        raise MethodError(f"{who}: expected stop at or after step {start}, got {stop}")


def check_is_step(who: str, **steps: object) -> None:
    """Steps are whole numbers: 2.5, inf and True are refused."""
    for name, value in steps.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise MethodError(
                f"{who}: expected {name} to be a whole number of optimizer steps, got {value!r}"
            )


def check_flags(who: str, **flags: object) -> None:
    """Yes or no: a text such as "no" would count as yes."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise MethodError(f"{who}: expected {name} to be True or False, got {value!r}")


def starting_edits(method: Method) -> tuple[Edit, ...]:
    """The edit before the first step of a method that begins sparse: the final counts, at random or by magnitude."""
    if method.initial == "given":
        return ()
    drop_by = Random() if method.initial == "random" else CRITERIA["magnitude"]
    return (Edit(drop_to=AtSparsity(final_sparsity(method)), drop_by=drop_by),)
