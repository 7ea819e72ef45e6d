"""The first places of compact weights: the edits of a method at step 0, decided on positions, with the draws of the masked engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from gossamer.errors import GossamerError
from gossamer.sparsity.criteria import CRITERIA, Criterion, View
from gossamer.sparsity.growth import Growth
from gossamer.sparsity.patterns import Pattern
from gossamer.sparsity.view import as_matrix
from gossamer.training.compact.entries import Entries, decide_entries, first_places, scored
from gossamer.training.counting import Allocations
from gossamer.training.edits import Shapes
from gossamer.training.foresight import no_ranking, state_of
from gossamer.training.methods.method import Method
from gossamer.training.randomness import event_generator

Weights = Mapping[str, Callable[[], Tensor] | None]


def starting_positions(
    method: Method, pattern: Pattern, shapes: Shapes, weights: Weights, seed: int
) -> dict[str, Tensor]:
    """Ascending positions of every weight that is not dense, after the edits at step 0.

    `weights` give the matrix [R, C] of a dense weight, None where there is none (a model on the meta device).
    """
    network = Allocations(method.allocation, pattern, shapes)
    places: dict[str, Tensor] = {}  # a weight that is not here yet is whole
    for event, edit in enumerate(method.edits_at(0), start=1):
        generator = event_generator(seed, event)
        counts = {name: len(places[name]) if name in places else shapes[name].numel for name in weights}
        scores = (lambda: _magnitudes(weights)) if not places else no_ranking
        state = state_of(network, counts, edit, scores)
        drop_to = edit.drop_to(state) if edit.drop_to is not None else {}
        grow_to = edit.grow_to(state) if edit.grow_to is not None else {}
        for name in state.scope:
            shape, legal, drop = shapes[name], pattern.for_weight(shapes[name].weight), drop_to.get(name)
            try:
                if name not in places:
                    if drop is None or drop >= shape.numel:
                        continue
                    places[name] = first_places(edit, legal, shape.matrix, weights[name], drop, generator)
                    drop = None
                held = places[name]
                entries = Entries(
                    count=len(held),
                    positions=partial(_chosen, held),
                    scores=partial(_scores, weights[name], held),
                )
                decision = decide_entries(
                    edit, legal, shape.matrix, entries, drop, grow_to.get(name), generator
                )
                places[name] = decision.positions(held)
            except GossamerError as error:
                raise type(error)(f"{name!r}: {error}") from None
    return {
        name: places[name] if name in places else torch.arange(shapes[name].numel, device="cpu")
        for name in weights
    }


def dense_matrix_of(weight: Tensor) -> Callable[[], Tensor] | None:
    """The matrix of a dense weight when asked for; None on the meta device."""
    return None if weight.is_meta else lambda: as_matrix(weight.detach())


def _chosen(held: Tensor, which: Tensor | None) -> Tensor:
    return held if which is None else held[which]


def _scores(weight: Callable[[], Tensor] | None, held: Tensor, rule: Criterion | Growth, k: int) -> Tensor:
    values = torch.zeros(len(held), device="cpu") if weight is None else weight().flatten()[held]
    return scored(rule, values, None, k)


def _magnitudes(weights: Weights) -> dict[str, Tensor]:
    """The scores of a global ranking of whole weights."""
    scores = {}
    for name, weight in weights.items():
        assert weight is not None  # a ranking is a criterion, which first_places refuses on the meta device
        matrix = weight()
        scores[name] = CRITERIA["magnitude"](
            View(weight=matrix, mask=torch.ones_like(matrix).bool()), matrix.numel()
        )
    return scores
