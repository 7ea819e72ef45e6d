"""From a sparsity of the network to legal counts of its masked weights: the bridge from a method's settings to `allocate`."""

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache

from torch import Tensor

from gossamer.errors import BudgetError
from gossamer.sparsity.allocation import Allocation, Room, allocate, global_rank
from gossamer.sparsity.patterns import Pattern, nearest_count
from gossamer.training.edits import Shapes, names_in
from gossamer.training.methods.method import Method, final_sparsity
from gossamer.units import Budget

Scores = Callable[[], Mapping[str, Tensor]]
_RECENT = 16
"""Allocations that are kept: a schedule comes back to its target, and to the few levels of a staircase."""


class Allocations:
    """Kept entries of every masked weight at any sparsity of the whole network. What an edit asked for, the next ones need not work out
    again.

    >>> from gossamer.sparsity.costs import LayerShape
    >>> from gossamer.sparsity.patterns import Unstructured
    >>> network = Allocations("erk", Unstructured(), {"w": LayerShape(weight=(10, 20)), "v": LayerShape(weight=(5, 2), dense="last layer")})
    >>> network.at(0.9), network.legal
    ({'w': 11}, {'w': range(0, 201)})
    """

    def __init__(self, allocation: str, pattern: Pattern, shapes: Shapes) -> None:
        """`shapes` are all weights that count, the dense ones with their reason; `allocation` is that of the method."""
        self.allocation, self.pattern, self.shapes = allocation, pattern, shapes
        self.legal = {
            name: pattern.for_weight(shapes[name].weight).counts(shapes[name].matrix)
            for name in names_in(None, shapes)
        }
        self._room = Room.of(shapes, pattern)
        self._recent = lru_cache(maxsize=_RECENT)(self._counts)
        self._found: dict[Hashable, float] = {}

    def at(
        self, sparsity: float | None, how: str | None = None, scores: Scores | None = None
    ) -> Mapping[str, int]:
        """Counts at this sparsity (None: the pattern's own); `how` is another allocation than the method's.

        `scores` give the matrices that a global ranking compares, anew every time; without them it is foreseen as uniform.
        """
        name = how or self.allocation
        if name != "global_rank":
            return self._recent(sparsity, name)
        return self._recent(sparsity, "uniform") if scores is None else self._counts(sparsity, name, scores)

    def once(self, what: Hashable, work: Callable[[], float]) -> float:
        """The number that `work` finds from shapes and counts alone, which is found once."""
        if what not in self._found:
            self._found[what] = work()
        return self._found[what]

    def _counts(self, sparsity: float | None, how: str, scores: Scores | None = None) -> dict[str, int]:
        if sparsity is not None and self._room.own:
            # a pattern with its own target, on the way to it or away from it: t:M at the sparsity of each layer
            return {
                name: nearest_count(legal, (1.0 - sparsity) * self.shapes[name].numel)
                for name, legal in self.legal.items()
            }
        budget: Budget | None = None
        rule: str | Allocation = "uniform"
        if sparsity is not None:
            # on the way from dense, a pattern that never keeps a whole layer begins with the most that it can
            budget = Budget.weights(max(sparsity, self._room.least_sparsity))
            rule = how if scores is None else global_rank(scores())
        granted = allocate(self.shapes, budget, rule, self.pattern, self._room)
        return {name: granted.counts[name] for name in self.legal}


def ranked_counts(
    shapes: Shapes, total: int, pattern: Pattern, scores: Mapping[str, Tensor]
) -> dict[str, int]:
    """`total` entries of these weights, shared by one ranking of their scores (matrices; -inf for what cannot be kept).

    >>> import torch
    >>> from gossamer.sparsity.costs import LayerShape
    >>> from gossamer.sparsity.patterns import Unstructured
    >>> shapes = {name: LayerShape(weight=(1, 4)) for name in "ab"}
    >>> scores = {"a": torch.tensor([[4.0, 3.0, 2.0, 1.0]]), "b": torch.tensor([[0.4, 0.3, 0.2, 0.1]])}
    >>> ranked_counts(shapes, 5, Unstructured(), scores)
    {'a': 4, 'b': 1}
    """
    numel = sum(shape.numel for shape in shapes.values())
    return dict(allocate(shapes, Budget.weights(1 - total / numel), global_rank(scores), pattern).counts)


def check_reachable(method: Method, pattern: Pattern, shapes: Shapes) -> None:
    """BudgetError now, not at the last edit, if the method asks for a sparsity that the protected layers do not leave room for."""
    sparsity = final_sparsity(method)
    if sparsity is None:
        return
    how = "uniform" if method.allocation == "global_rank" else method.allocation
    try:
        allocate(shapes, Budget.weights(sparsity), how, pattern)
    except BudgetError as error:
        dense = ", ".join(
            f"{name} ({shape.dense})" for name, shape in shapes.items() if shape.dense is not None
        )
        raise BudgetError(
            f"{error}; left dense here: {dense or 'none'} (protect= and layers=, or protect: in a recipe, change that)"
        ) from None
