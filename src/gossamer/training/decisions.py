"""From an edit to new masks: a pure function of the state, on matrices [R, C] (rows = outputs, columns = inputs)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gossamer.errors import EngineError, GossamerError
from gossamer.sparsity.criteria import Criterion, View
from gossamer.sparsity.growth import Random
from gossamer.sparsity.patterns import Pattern
from gossamer.training.edits import CountState, Edit

_LAST = float("-inf")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The outcome for one weight: its new mask, and the entries that start afresh (grown, or dropped and grown again)."""

    mask: Tensor
    fresh: Tensor


def decide_edit(
    edit: Edit, pattern: Pattern, views: Mapping[str, View], state: CountState, generator: torch.Generator
) -> dict[str, Decision]:
    """The new masks of the weights in the edit's scope, which are those of `views`. They are visited in order, so `generator` makes it
    reproducible."""
    drop_counts = edit.drop_to(state) if edit.drop_to is not None else {}
    grow_counts = edit.grow_to(state) if edit.grow_to is not None else {}
    decisions = {}
    for name in views:
        try:
            decisions[name] = _decide_one(
                edit, pattern, views[name], drop_counts.get(name), grow_counts.get(name), generator
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
        scores = _drop_scores(edit.drop_by, view, drop_to, generator).masked_fill(~before, _LAST)
        kept = pattern.mask(_without_nan(scores), drop_to)
        assert int(kept.sum()) == drop_to
        assert not bool((kept & ~before).any())
    mask = kept
    if grow_to is not None and edit.grow_by is not None and grow_to > int(kept.sum()):
        scores = edit.grow_by(replace(view, mask=kept), grow_to, generator).masked_fill(kept, 0.0)
        if edit.exclude_dropped:
            scores = scores.masked_fill(before & ~kept, _LAST)
        mask = pattern.mask(_without_nan(scores), grow_to, keep=kept)
        assert int(mask.sum()) == grow_to
        assert not bool((kept & ~mask).any())
    return Decision(mask=mask, fresh=mask & ~kept)


def _drop_scores(drop_by: Criterion | Random, view: View, k: int, generator: torch.Generator) -> Tensor:
    return drop_by(view, k, generator) if isinstance(drop_by, Random) else drop_by(view, k)


def _without_nan(scores: Tensor) -> Tensor:
    if bool(torch.isnan(scores).any()):
        raise EngineError(
            f"expected scores without NaN, got {int(torch.isnan(scores).sum())} NaN of {scores.numel()}: weights or gradients have "
            "become NaN, so training has diverged before this edit; lower the learning rate or clip gradients"
        )
    return scores
