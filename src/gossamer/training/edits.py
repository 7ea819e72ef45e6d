"""An edit: one change of masks, as a record of what is wanted. Drop first, then grow; the engine carries it out.

Counts may depend on the state of the network at that step, so an edit names a *rule* for each of the two counts. Rules are evaluated on
the state **before** the edit: `Unchanged()` as the growth count gives every weight back exactly what the drop took. Which weights an edit
is about may be a rule too, of the network's shapes, because a method is made before it meets a network.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gossamer.errors import MethodError
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.criteria import Criterion
from gossamer.sparsity.growth import FILLS, Fill, Growth, Random
from gossamer.sparsity.patterns import nearest_count


def _anew(what: Hashable, work: Callable[[], float]) -> float:
    return work()


@dataclass(frozen=True, kw_only=True)
class CountState:
    """What a rule may look at, by weight name: entries kept now, totals that the pattern allows, and allocations.

    `allocate(sparsity, how)` gives legal counts for a sparsity of the network (None: the pattern's own) by the allocation `how` (None: the
    method's). `rank(names, total)` shares `total` entries among these weights by one ranking of the scores of their active entries.
    `once(what, work)` is the number that `work()` finds from shapes and allocations alone: under the name `what` it is searched for once a
    run, and not at every edit.
    """

    num_kept: Mapping[str, int]
    legal: Mapping[str, range]
    allocate: Callable[[float | None, str | None], Mapping[str, int]]
    rank: Callable[[Sequence[str], int], Mapping[str, int]]
    scope: tuple[str, ...]  # the weights that the edit is about
    shapes: Mapping[str, LayerShape]  # of all weights that count, for rules that plan by cost
    once: Callable[[Hashable, Callable[[], float]], float] = _anew


class Counts(Protocol):
    """A rule that gives every weight a legal number of kept entries."""

    def __call__(self, state: CountState) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class AtSparsity:
    """The counts that the method's allocation gives at this network sparsity; None for a pattern that fixes its own.

    `on_the_way_to` is a higher sparsity still to come: no weight gets fewer entries than it will have there. Rounding shares to whole
    units may take a unit from one layer at the lower sparsity that it has again at the higher one (the Alabama paradox), and a
    method that only prunes could not give it back. `allocation` is another one than the method's.
    """

    sparsity: float | None
    on_the_way_to: float | None = None
    allocation: str | None = None

    def __call__(self, state: CountState) -> Mapping[str, int]:
        counts = state.allocate(self.sparsity, self.allocation)
        if self.on_the_way_to is None:
            return counts
        final = state.allocate(self.on_the_way_to, self.allocation)
        return {name: max(count, final[name]) for name, count in counts.items()}


@dataclass(frozen=True)
class WithoutFraction:
    """All but this fraction of the active entries of each weight, to the nearest legal count (halfway: fewer are kept).

    No more is dropped than there are absent entries to exchange it for: a layer that an allocation keeps whole stays as it is.

    >>> def state(size):
    ...     return CountState(num_kept={"w": 10}, legal={"w": range(0, size + 1)}, allocate=None, rank=None, scope=("w",), shapes={})
    >>> [WithoutFraction(fraction)(state(20))["w"] for fraction in (0.0, 0.04, 0.3, 1.0)]
    [10, 10, 7, 0]
    >>> [WithoutFraction(0.3)(state(size))["w"] for size in (11, 10)]
    [9, 10]
    """

    fraction: float

    def __call__(self, state: CountState) -> Mapping[str, int]:
        return {
            name: min(
                kept,
                nearest_count(
                    state.legal[name], kept - min(kept * self.fraction, state.legal[name][-1] - kept)
                ),
            )
            for name, kept in state.num_kept.items()
        }


@dataclass(frozen=True)
class Unchanged:
    """As many as before the edit."""

    def __call__(self, state: CountState) -> Mapping[str, int]:
        return state.num_kept


@dataclass(frozen=True)
class RankedInside:
    """The total that the weights in the edit's scope have at this network sparsity under `allocation`, shared among them by rank."""

    sparsity: float
    allocation: str = "uniform"

    def __call__(self, state: CountState) -> Mapping[str, int]:
        counts = state.allocate(self.sparsity, self.allocation)
        return state.rank(state.scope, sum(counts[name] for name in state.scope))


@dataclass(frozen=True)
class Most:
    """As many as the pattern allows: whole weights."""

    def __call__(self, state: CountState) -> Mapping[str, int]:
        return {name: legal[-1] for name, legal in state.legal.items()}


Shapes = Mapping[str, LayerShape]


class Scope(Protocol):
    """A rule that picks weights by name from all that count, in network order (those that stay dense have their reason as `dense`)."""

    def __call__(self, shapes: Shapes) -> tuple[str, ...]: ...


def names_in(scope: tuple[str, ...] | Scope | None, shapes: Shapes) -> tuple[str, ...]:
    """The weights that an edit is about; `scope` None: all that may be masked.

    >>> shapes = {"a": LayerShape(weight=(2, 2), dense="first layer"), "b": LayerShape(weight=(2, 2)), "c": LayerShape(weight=(2, 2))}
    >>> names_in(None, shapes), names_in(("c",), shapes), names_in(lambda shapes: tuple(shapes)[1:2], shapes)
    (('b', 'c'), ('c',), ('b',))
    """
    if scope is None:
        return tuple(name for name, shape in shapes.items() if shape.dense is None)
    return scope(shapes) if callable(scope) else scope


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change of masks. In words: of the weights in `scope`, drop the lowest to `drop_to`, then grow the highest to `grow_to`.

    An entry that is dropped and grown again in the same edit starts afresh like any grown one. A weight that already has no more than
    `drop_to` entries drops nothing; one that has at least `grow_to` grows nothing.
    """

    scope: tuple[str, ...] | Scope | None = None  # weight names, or a rule; None: all masked weights
    drop_to: Counts | None = None
    drop_by: Criterion | Random | None = None
    grow_to: Counts | None = None
    grow_by: Growth | Random | None = None
    fill: Fill = FILLS["zero"]
    exclude_dropped: bool = False  # growth takes what this edit dropped only if nothing else is left

    def __post_init__(self) -> None:
        for what in ("drop", "grow"):
            if (getattr(self, f"{what}_to") is None) != (getattr(self, f"{what}_by") is None):
                raise MethodError(f"Edit: expected {what}_to and {what}_by together, got only one of them")

    @property
    def needs(self) -> frozenset[str]:
        """What the scores of this edit read: of "weight", "gradient", "activation"."""
        drop = self.drop_by.needs if self.drop_by is not None else frozenset()
        return drop | (self.grow_by.needs if self.grow_by is not None else frozenset())


def after_drop(edit: Edit, state: CountState) -> dict[str, int]:
    """Entries of the weights in scope after the drop of an edit: no more than `drop_to`."""
    drop_to = edit.drop_to(state) if edit.drop_to is not None else {}
    return {name: min(state.num_kept[name], drop_to.get(name, state.num_kept[name])) for name in state.scope}


def after_edit(edit: Edit, state: CountState) -> dict[str, int]:
    """Entries of the weights in scope after an edit: those of the drop, and no less than `grow_to`.

    Where growth gives every weight back at least what it had, the drop does not matter, and is not worked out.
    """
    grow_to = edit.grow_to(state) if edit.grow_to is not None else {}
    grown = {name: grow_to.get(name, 0) for name in state.scope}
    if all(count >= state.num_kept[name] for name, count in grown.items()):
        return grown
    return {name: max(kept, grown[name]) for name, kept in after_drop(edit, state).items()}
