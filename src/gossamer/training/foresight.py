"""How many entries a method will keep, before a single step: its edits carried out on counts alone.

Memory is planned by the peak, and a declared peak is worth something only if it is computed apart from the masks that are to obey it.
A ranking over several weights (`global_rank`, `RankedInside`) cannot be foreseen layer by layer: its total is right, the shares are those
of a uniform allocation.
"""

from collections.abc import Iterator, Mapping, Sequence

from gossamer.sparsity.patterns import Pattern, parse_pattern
from gossamer.training.counting import counts_at
from gossamer.training.edits import CountState, Shapes, names_in
from gossamer.training.methods.method import Method


def counts_over_time(
    method: Method, shapes: Shapes, start: Mapping[str, int] | None = None
) -> Iterator[tuple[int, Mapping[str, int]]]:
    """After every edit: its step, and the kept entries of every masked weight. `shapes` are all weights that count.

    `start` are the counts before the first edit (None: all whole), for masks that a user gives. Edits that change no count are told too.

    >>> from gossamer.sparsity.costs import LayerShape
    >>> from gossamer.training.methods import Gradual
    >>> shapes = {"a": LayerShape(weight=(10, 10)), "b": LayerShape(weight=(20, 10), dense="last layer")}
    >>> list(counts_over_time(Gradual(sparsity=0.3, every=2, stop=4), shapes))
    [(0, {'a': 100}), (2, {'a': 21}), (4, {'a': 10})]
    """
    pattern = parse_pattern(method.pattern)
    names = names_in(None, shapes)
    legal = _legal(pattern, shapes)
    kept = {name: legal[name][-1] for name in names} if start is None else dict(start)
    for step in range(method.last_edit + 1):
        for edit in method.edits_at(step):
            scope = names_in(edit.scope, shapes)
            state = _state(method, pattern, shapes, kept, legal, scope)
            drop_to = edit.drop_to(state) if edit.drop_to is not None else {}
            grow_to = edit.grow_to(state) if edit.grow_to is not None else {}
            for name in scope:
                after_drop = min(kept[name], drop_to.get(name, kept[name]))
                kept[name] = max(after_drop, grow_to.get(name, after_drop))
            yield step, dict(kept)


def peak_counts(method: Method, shapes: Shapes, start: Mapping[str, int] | None = None) -> dict[str, int]:
    """The most entries that each masked weight keeps at once during training, from the edits at step 0 on."""
    peaks: dict[str, int] = {}
    for counts in _trained(method, shapes, start):
        peaks = {name: max(count, peaks.get(name, 0)) for name, count in counts.items()}
    return peaks


def peak_kept(method: Method, shapes: Shapes, start: Mapping[str, int] | None = None) -> int:
    """The most entries that the network keeps at once during training, dense layers included: the declared peak."""
    dense = sum(shape.numel for shape in shapes.values() if shape.dense is not None)
    return dense + max(sum(counts.values()) for counts in _trained(method, shapes, start))


def _trained(method: Method, shapes: Shapes, start: Mapping[str, int] | None) -> Iterator[Mapping[str, int]]:
    """Counts while training: what stands between the edits at step 0 was never trained."""
    pattern = parse_pattern(method.pattern)
    first: Mapping[str, int] = start or {name: legal[-1] for name, legal in _legal(pattern, shapes).items()}
    later = []
    for step, counts in counts_over_time(method, shapes, start):
        if step == 0:
            first = counts
        else:
            later.append(counts)
    yield first
    yield from later


def _legal(pattern: Pattern, shapes: Shapes) -> dict[str, range]:
    return {
        name: pattern.for_weight(shapes[name].weight).counts(shapes[name].matrix)
        for name in names_in(None, shapes)
    }


def _state(
    method: Method,
    pattern: Pattern,
    shapes: Shapes,
    kept: Mapping[str, int],
    legal: Mapping[str, range],
    scope: tuple[str, ...],
) -> CountState:
    def allocated(sparsity: float | None, how: str | None) -> Mapping[str, int]:
        name = how or method.allocation
        return counts_at(sparsity, "uniform" if name == "global_rank" else name, pattern, shapes, dict)

    def ranked(names: Sequence[str], total: int) -> Mapping[str, int]:
        part = {name: shapes[name] for name in names}
        return counts_at(
            1 - total / sum(shape.numel for shape in part.values()), "uniform", pattern, part, dict
        )

    return CountState(num_kept=kept, legal=legal, allocate=allocated, rank=ranked, scope=scope, shapes=shapes)
