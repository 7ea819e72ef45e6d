"""From an edit to new masks: a pure function of the state, on matrices [R, C] (rows = outputs, columns = inputs)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gossamer.errors import EngineError, GossamerError
from gossamer.sparsity.criteria import Criterion, View
from gossamer.sparsity.growth import Growth, Random
from gossamer.sparsity.patterns import Pattern, Shape
from gossamer.training.edits import CountState, Edit

Outcome = dict[str, Tensor]  # what is decided on rank 0 and sent to all, by kind and weight name

_LAST = float("-inf")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The outcome for one weight: its new mask, and the entries that start afresh (grown, or dropped and grown again)."""

    mask: Tensor
    fresh: Tensor


def decide_edit(
    edit: Edit,
    patterns: Mapping[str, Pattern],
    views: Mapping[str, View],
    state: CountState,
    generator: torch.Generator,
) -> dict[str, Decision]:
    """The new masks of the weights in the edit's scope, which are those of `views`. They are visited in order, so `generator` makes it
    reproducible."""
    drop_counts = edit.drop_to(state) if edit.drop_to is not None else {}
    grow_counts = edit.grow_to(state) if edit.grow_to is not None else {}
    decisions = {}
    for name in views:
        try:
            decisions[name] = _decide_one(
                edit, patterns[name], views[name], drop_counts.get(name), grow_counts.get(name), generator
            )
        except GossamerError as error:
            raise type(error)(f"{name!r}: {error}") from None
    return decisions


def _decide_one(
    edit: Edit,
    pattern: Pattern,
    view: View,
    drop_to: int | None,
    grow_to: int | None,
    generator: torch.Generator,
) -> Decision:
    before = view.mask
    kept = before
    if drop_to is not None and edit.drop_by is not None and drop_to < int(before.sum()):
        if isinstance(edit.drop_by, Random):
            kept = _dropped_at_random(pattern, before, drop_to, generator)
        else:
            kept = _dropped(edit.drop_by, pattern, view, drop_to)
        assert int(kept.sum()) == drop_to
        assert not bool((kept & ~before).any())
    mask = kept
    if grow_to is not None and edit.grow_by is not None and grow_to > int(kept.sum()):
        last = before & ~kept if edit.exclude_dropped else None
        if isinstance(edit.grow_by, Random):
            exclude = None if last is None else _positions(last)
            grown = pattern.draw(_positions(kept), _shape(kept), grow_to, generator, exclude)
            mask = kept | _mask_of(grown, kept)
        else:
            mask = _grown(edit.grow_by, pattern, replace(view, mask=kept), grow_to, last)
        assert int(mask.sum()) == grow_to
        assert not bool((kept & ~mask).any())
    return Decision(mask=mask, fresh=mask & ~kept)


def _dropped(drop_by: Criterion, pattern: Pattern, view: View, k: int) -> Tensor:
    return pattern.mask(_without_nan(drop_by(view, k).masked_fill(~view.mask, _LAST)), k)


def _dropped_at_random(pattern: Pattern, before: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """What stays of a dense weight is drawn, of a sparse one selected by random scores of its entries."""
    shape = _shape(before)
    if bool(before.all()):
        return _mask_of(pattern.draw(torch.empty(0, dtype=torch.int64), shape, k, generator), before)
    active = _positions(before)
    scores = torch.rand(active.shape, generator=generator)
    return _mask_of(active[pattern.select(active, scores, shape, k)], before)


def _grown(grow_by: Growth, pattern: Pattern, view: View, k: int, last: Tensor | None) -> Tensor:
    """Of `view`, whose mask is what the drop has kept: that and the best of the rest, those of `last` after all others."""
    scores = grow_by(view, k).masked_fill(view.mask, 0.0)
    if last is not None:
        scores = scores.masked_fill(last, _LAST)
    return pattern.mask(_without_nan(scores), k, keep=view.mask)


def _shape(mask: Tensor) -> Shape:
    return mask.shape[0], mask.shape[1]


def _positions(mask: Tensor) -> Tensor:
    """The kept entries of a mask as `pattern.draw` wants them: row-major indices on the CPU."""
    return mask.flatten().nonzero().flatten().cpu()


def _mask_of(positions: Tensor, like: Tensor) -> Tensor:
    """The mask that keeps these positions, with the shape and device of `like`."""
    mask = torch.zeros(like.numel(), dtype=torch.bool, device=like.device)
    mask[positions.to(like.device)] = True
    return mask.reshape(like.shape)


def _without_nan(scores: Tensor) -> Tensor:
    if bool(torch.isnan(scores).any()):
        raise EngineError(
            f"expected scores without NaN, got {int(torch.isnan(scores).sum())} NaN of {scores.numel()}: weights or gradients have "
            "become NaN, so training has diverged before this edit; lower the learning rate or clip gradients"
        )
    return scores
