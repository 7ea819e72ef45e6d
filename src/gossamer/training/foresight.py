"""How many entries a method will keep, before a single step: its edits carried out on counts alone.

Memory is planned by the peak, and a declared peak is worth something only if it is computed apart from the masks that are to obey it.
A ranking over several weights (`global_rank`, `RankedInside`) cannot be foreseen layer by layer: its total is right, the shares are those
of a uniform allocation. Who allocates memory by the counts asks for exact ones, and a ranking is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from gossamer.errors import EngineError
from gossamer.sparsity.patterns import parse_pattern
from gossamer.training.counting import Allocations, Scores
from gossamer.training.edits import CountState, Edit, Shapes, after_edit, names_in
from gossamer.training.methods.method import Method, edit_steps_of


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
    network = Allocations(method.allocation, parse_pattern(method.pattern), shapes)
    kept = _whole(shapes) if start is None else dict(start)
    for step in edit_steps_of(method):
        for edit in method.edits_at(step):
            after = after_edit(edit, state_of(network, kept, edit, no_ranking if exact else None))
            if any(count != kept[name] for name, count in after.items()):
                kept = {**kept, **after}
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
    for _, counts in _trained(method, shapes, start, exact=exact):
        peaks = {name: max(count, peaks.get(name, 0)) for name, count in counts.items()}
    return peaks


def kept_over_time(
    method: Method, shapes: Shapes, start: Mapping[str, int] | None = None
) -> list[tuple[int, int]]:
    """What the network keeps, dense layers included: before the first step, and after every edit that changes it.

    >>> from gossamer.training.methods import Gradual
    >>> from gossamer.sparsity.costs import LayerShape
    >>> shapes = {"a": LayerShape(weight=(10, 10)), "b": LayerShape(weight=(20, 10), dense="last layer")}
    >>> kept_over_time(Gradual(sparsity=0.3, every=2, stop=4), shapes)
    [(0, 300), (2, 221), (4, 210)]
    """
    dense = sum(shape.numel for shape in shapes.values() if shape.dense is not None)
    trained = _trained(method, shapes, start, exact=False)
    return [(step, dense + sum(counts.values())) for step, counts in trained]


def peak_kept(method: Method, shapes: Shapes, start: Mapping[str, int] | None = None) -> int:
    """The most entries that the network keeps at once during training, dense layers included: the declared peak."""
    return max(kept for _, kept in kept_over_time(method, shapes, start))


def state_of(
    network: Allocations, num_kept: Mapping[str, int], edit: Edit, scores: Scores | None = None
) -> CountState:
    """What the rules of `edit` may look at. `scores` of whole weights serve a global allocation (`no_ranking` refuses it); None: shares
    of a ranking are foreseen as uniform."""

    def ranked(names: Sequence[str], total: int) -> Mapping[str, int]:
        part = {name: network.shapes[name] for name in names}
        share = 1 - total / sum(shape.numel for shape in part.values())
        return Allocations("uniform", network.pattern, part).at(share)

    return CountState(
        num_kept=num_kept,
        legal=network.legal,
        allocate=lambda sparsity, how: network.at(sparsity, how, scores),
        rank=ranked if scores is None else no_ranking,
        scope=names_in(edit.scope, network.shapes),
        shapes=network.shapes,
        once=network.once,
    )


def no_ranking(names: Sequence[str] = (), total: int = 0) -> NoReturn:
    raise EngineError(
        "a global ranking compares the scores of whole dense weights, which compact layers do not have: expected allocation uniform or "
        "erk; or train masked, and compact_ the model when it is sparse"
    )


def _trained(
    method: Method, shapes: Shapes, start: Mapping[str, int] | None, *, exact: bool
) -> Iterator[tuple[int, Mapping[str, int]]]:
    """Counts while training, and the step from which on they hold; told again only where they change.

    What stands between the edits at step 0 was never trained.
    """
    since, now = 0, _whole(shapes) if start is None else start
    told = None
    for step, counts in counts_over_time(method, shapes, start, exact=exact):
        if step > 0 and now is not told:
            yield since, now
            told = now
        since, now = (step, counts) if counts is not now else (since, now)
    if now is not told:
        yield since, now


def _whole(shapes: Shapes) -> dict[str, int]:
    """Dense training: also where the pattern never keeps a whole weight."""
    return {name: shapes[name].numel for name in names_in(None, shapes)}
