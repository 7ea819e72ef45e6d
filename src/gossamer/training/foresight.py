"""How many entries a method will keep, before a single step: its edits carried out on counts alone.

Memory is planned by the peak, and a declared peak is worth something only if it is computed apart from the masks that are to obey it.
A ranking over several weights (`global_rank`, `RankedInside`) cannot be foreseen layer by layer: its total is right, the shares are those
of a uniform allocation. Who allocates memory by the counts asks for exact ones, and a ranking is refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

from torch import Tensor

from gossamer.errors import EngineError
from gossamer.sparsity.patterns import Pattern, parse_pattern
from gossamer.training.counting import counts_at
from gossamer.training.edits import CountState, Edit, Shapes, after_edit, names_in
from gossamer.training.methods.method import Method

Scores = Callable[[], Mapping[str, Tensor]]


def counts_over_time(
    method: Method, shapes: Shapes, start: Mapping[str, int] | None = None, *, exact: bool = False
) -> Iterator[tuple[int, Mapping[str, int]]]:
    """After every edit: its step, and the kept entries of every masked weight. `shapes` are all weights that count.

    `start` are the counts before the first edit (None: all whole), for masks that a user gives. Edits that change no count are told too.
    `exact`: EngineError at a ranking, whose shares would be a guess.

    >>> from gossamer.sparsity.costs import LayerShape
    >>> from gossamer.training.methods import Gradual
    >>> shapes = {"a": LayerShape(weight=(10, 10)), "b": LayerShape(weight=(20, 10), dense="last layer")}
    >>> list(counts_over_time(Gradual(sparsity=0.3, every=2, stop=4), shapes))
    [(0, {'a': 100}), (2, {'a': 21}), (4, {'a': 10})]
    """
    pattern = parse_pattern(method.pattern)
    kept = _whole(pattern, shapes) if start is None else dict(start)
    known: dict[tuple[Edit, tuple[int, ...]], dict[str, int]] = {}  # most edits repeat themselves
    for step in range(method.last_edit + 1):
        for edit in method.edits_at(step):
            key = edit, tuple(kept.values())
            if key not in known:
                state = state_of(method, pattern, shapes, kept, edit, no_ranking if exact else None)
                known[key] = {**kept, **after_edit(edit, state)}
            kept = known[key]
            yield step, kept


def peak_counts(
    method: Method, shapes: Shapes, start: Mapping[str, int] | None = None, *, exact: bool = False
) -> dict[str, int]:
    """The most entries that each masked weight keeps at once during training, from the edits at step 0 on: what a compact layer reserves.

    >>> from gossamer.sparsity.costs import LayerShape
    >>> from gossamer.training.methods import SET
    >>> peak_counts(SET(sparsity=0.9, every=10, stop=100), {"w": LayerShape(weight=(10, 20))}, exact=True)
    {'w': 20}
    """
    peaks: dict[str, int] = {}
    for counts in _trained(method, shapes, start, exact=exact):
        peaks = {name: max(count, peaks.get(name, 0)) for name, count in counts.items()}
    return peaks


def peak_kept(method: Method, shapes: Shapes, start: Mapping[str, int] | None = None) -> int:
    """The most entries that the network keeps at once during training, dense layers included: the declared peak."""
    dense = sum(shape.numel for shape in shapes.values() if shape.dense is not None)
    return dense + max(sum(counts.values()) for counts in _trained(method, shapes, start, exact=False))


def state_of(
    method: Method,
    pattern: Pattern,
    shapes: Shapes,
    num_kept: Mapping[str, int],
    edit: Edit,
    scores: Scores | None = None,
) -> CountState:
    """What the rules of `edit` may look at. `scores` of whole weights serve a global allocation (`no_ranking` refuses it); None: shares
    of a ranking are foreseen as uniform."""

    def allocated(sparsity: float | None, how: str | None) -> Mapping[str, int]:
        name = how or method.allocation
        uniform = name == "global_rank" and scores is None
        return counts_at(sparsity, "uniform" if uniform else name, pattern, shapes, scores or no_ranking)

    def ranked(names: Sequence[str], total: int) -> Mapping[str, int]:
        part = {name: shapes[name] for name in names}
        share = 1 - total / sum(shape.numel for shape in part.values())
        return counts_at(share, "uniform", pattern, part, no_ranking)

    return CountState(
        num_kept=num_kept,
        legal={
            name: pattern.for_weight(shapes[name].weight).counts(shapes[name].matrix)
            for name in names_in(None, shapes)
        },
        allocate=allocated,
        rank=ranked if scores is None else no_ranking,
        scope=names_in(edit.scope, shapes),
        shapes=shapes,
    )


def no_ranking(names: Sequence[str] = (), total: int = 0) -> NoReturn:
    raise EngineError(
        "a global ranking compares the scores of whole dense weights, which compact layers do not have: expected allocation uniform or "
        "erk; or train masked, and compact_ the model when it is sparse"
    )


def _trained(
    method: Method, shapes: Shapes, start: Mapping[str, int] | None, *, exact: bool
) -> Iterator[Mapping[str, int]]:
    """Counts while training: what stands between the edits at step 0 was never trained."""
    first = _whole(parse_pattern(method.pattern), shapes) if start is None else start
    later = []
    for step, counts in counts_over_time(method, shapes, start, exact=exact):
        if step == 0:
            first = counts
        else:
            later.append(counts)
    yield first
    yield from later


def _whole(pattern: Pattern, shapes: Shapes) -> dict[str, int]:
    return {
        name: pattern.for_weight(shapes[name].weight).counts(shapes[name].matrix)[-1]
        for name in names_in(None, shapes)
    }
