"""How many entries each weight has after every edit of a method, found from the rules of counts alone: the peak that a layer reserves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from torch import Tensor

from gossamer.errors import EngineError
from gossamer.sparsity.patterns import Pattern
from gossamer.training.counting import counts_at
from gossamer.training.edits import CountState, Edit, Shapes, names_in
from gossamer.training.methods.method import Method


def after_drop(edit: Edit, state: CountState) -> dict[str, int]:
    """Entries of the weights in scope after the drop of an edit: no more than `drop_to`."""
    drop_to = edit.drop_to(state) if edit.drop_to is not None else {}
    return {name: min(state.num_kept[name], drop_to.get(name, state.num_kept[name])) for name in state.scope}


def after_edit(edit: Edit, state: CountState) -> dict[str, int]:
    """Entries of the weights in scope after an edit: those of the drop, and no less than `grow_to`."""
    grow_to = edit.grow_to(state) if edit.grow_to is not None else {}
    return {name: max(kept, grow_to.get(name, 0)) for name, kept in after_drop(edit, state).items()}


def state_of(
    method: Method,
    pattern: Pattern,
    shapes: Shapes,
    num_kept: Mapping[str, int],
    edit: Edit,
    scores: Callable[[], Mapping[str, Tensor]] | None = None,
) -> CountState:
    """What the rules of `edit` may look at. A global ranking is refused, unless `scores` of whole weights can be had."""
    sparse = {name: shape for name, shape in shapes.items() if shape.dense is None}
    return CountState(
        num_kept=num_kept,
        legal={name: pattern.for_weight(shape.weight).counts(shape.matrix) for name, shape in sparse.items()},
        allocate=lambda sparsity, how: counts_at(
            sparsity, how or method.allocation, pattern, shapes, scores or no_ranking
        ),
        rank=no_ranking,
        scope=names_in(edit.scope, shapes),
        shapes=shapes,
    )


def no_ranking(names: Sequence[str] = (), total: int = 0) -> NoReturn:
    raise EngineError(
        "a global ranking compares the scores of whole dense weights, which compact layers do not have: expected allocation uniform or "
        "erk; or train masked, and compact_ the model when it is sparse"
    )


def peak_counts(
    method: Method, pattern: Pattern, shapes: Shapes, start: Mapping[str, int] | None = None
) -> dict[str, int]:
    """The largest number of entries that each weight holds between two edits, from step 0 to the method's last edit.

    `start` are the counts before step 0; None: whole weights.

    >>> from gossamer.sparsity.costs import LayerShape
    >>> from gossamer.sparsity.patterns import parse_pattern
    >>> from gossamer.training.methods import SET
    >>> peak_counts(SET(sparsity=0.9, every=10, stop=100), parse_pattern("unstructured"), {"w": LayerShape(weight=(10, 20))})
    {'w': 20}
    """
    num_kept = dict(start or {name: shape.numel for name, shape in shapes.items() if shape.dense is None})
    peak: dict[str, int] = {}
    known: dict[tuple[Edit, tuple[int, ...]], dict[str, int]] = {}  # most edits repeat themselves
    for step in range(method.last_edit + 1):
        for edit in method.edits_at(step):
            key = edit, tuple(num_kept.values())
            if key not in known:
                state = state_of(method, pattern, shapes, num_kept, edit)
                known[key] = {**num_kept, **after_edit(edit, state)}
            num_kept = known[key]
            if step:
                peak = {name: max(count, peak[name]) for name, count in num_kept.items()}
        if not step:
            peak = num_kept  # the weights of a method that begins dense are whole until its first edit
    return peak
