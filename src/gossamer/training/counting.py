"""From a sparsity of the network to legal counts of its masked weights: the bridge from a method's settings to `allocate`."""

from collections.abc import Callable, Mapping

from torch import Tensor

from gossamer.errors import BudgetError
from gossamer.sparsity.allocation import allocate, global_rank, least_sparsity
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.patterns import Pattern, nearest_count
from gossamer.training.edits import Shapes
from gossamer.training.methods.method import Method, final_sparsity
from gossamer.units import Budget


def counts_at(
    sparsity: float | None,
    allocation: str,
    pattern: Pattern,
    shapes: Shapes,
    scores: Callable[[], Mapping[str, Tensor]],
) -> dict[str, int]:
    """Kept entries of every masked weight, so that the whole network has this sparsity (None: the pattern's own).

    `shapes` are all weights that count, the dense ones with their reason; `scores` gives the matrices that a global ranking needs.
    """
    masked = {name: shape for name, shape in shapes.items() if shape.dense is None}
    targets = {name: pattern.for_weight(shape.weight).target(shape.matrix) for name, shape in masked.items()}
    if sparsity is not None and any(target is not None for target in targets.values()):
        return {name: _by_layer(sparsity, pattern, shape) for name, shape in masked.items()}
    if (
        sparsity is not None
    ):  # on the way from dense, a pattern that never keeps a whole layer begins with the most that it can
        sparsity = max(sparsity, least_sparsity(shapes, pattern))
    if sparsity is None:
        granted = allocate(shapes, None, "uniform", pattern)
    elif allocation == "global_rank":
        granted = allocate(shapes, Budget.weights(sparsity), global_rank(scores()), pattern)
    else:
        granted = allocate(shapes, Budget.weights(sparsity), allocation, pattern)
    return {name: granted.counts[name] for name in masked}


def ranked_counts(
    shapes: Shapes, total: int, pattern: Pattern, scores: Mapping[str, Tensor]
) -> dict[str, int]:
    """`total` entries of these weights, shared by one ranking of their scores (matrices; -inf for what cannot be kept).

    >>> import torch
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


def _by_layer(sparsity: float, pattern: Pattern, shape: LayerShape) -> int:
    """Of a pattern with its own target the count nearest to another sparsity of this layer: t:M on the way to N:M, or away from it."""
    counts = pattern.for_weight(shape.weight).counts(shape.matrix)
    return nearest_count(counts, (1.0 - sparsity) * shape.numel)
