"""From an edit to new places: a pure function of the kept entries of one weight, never of its dense form.

Entries are positions r * C + c (int64, ascending) with their values and gradients beside them. Dropping selects among them, growing at
random draws positions by index: both take memory for the entries, not for the weight. Growth by score needs candidates that the caller has
found (`candidates`, see `blockwise.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gossamer.errors import EngineError
from gossamer.sparsity.criteria import Criterion, View
from gossamer.sparsity.growth import All, Growth, Random
from gossamer.sparsity.patterns import Pattern, Shape, Unstructured
from gossamer.sparsity.patterns.drawing import merged
from gossamer.sparsity.patterns.tiles import top_entries
from gossamer.training.compact.storage import PIECE
from gossamer.training.edits import Edit
from gossamer.training.heap import trim


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The kept entries of one weight, by ascending position."""

    count: int  # nnz
    positions: Callable[[Tensor | None], Tensor]  # bool [nnz] -> int64 positions of these; None: of all
    scores: Callable[[Criterion | Growth, int], Tensor]  # [nnz], by a rule and the number that it shall keep


@dataclass(frozen=True, kw_only=True)
class EntryDecision:
    """The outcome for one weight: which of its entries stay, and the positions that start afresh (grown, or dropped and grown again)."""

    stays: Tensor  # bool [nnz]
    grown: Tensor  # int64, ascending

    def positions(self, held: Tensor) -> Tensor:
        """Those that are held after it, ascending."""
        kept = held if bool(self.stays.all()) else held[self.stays]
        return merged(kept, self.grown) if len(self.grown) else kept


def decide_entries(
    edit: Edit,
    pattern: Pattern,
    shape: Shape,
    entries: Entries,
    drop_to: int | None,
    grow_to: int | None,
    generator: Generator,
    candidates: tuple[Tensor, Tensor] | None = None,
) -> EntryDecision:
    """The counterpart of `decisions.decide_edit` for one compact weight, with the same draws from `generator`."""
    count = entries.count
    stays, grown = torch.ones(count, dtype=torch.bool), torch.empty(0, dtype=torch.int64)
    if drop_to is not None and edit.drop_by is not None and drop_to < count:
        stays = _staying(edit.drop_by, pattern, shape, entries, drop_to, generator)
        assert int(stays.count_nonzero()) == drop_to
        trim(count)
    if grow_to is not None and edit.grow_by is not None and grow_to > int(stays.count_nonzero()):
        kept = entries.positions(stays)
        if isinstance(edit.grow_by, Random):
            exclude = entries.positions(~stays) if edit.exclude_dropped else None
            grown = pattern.draw(kept, shape, grow_to, generator, exclude)
        elif candidates is not None:
            grown = _best(edit, pattern, shape, entries, ~stays, candidates, grow_to - len(kept))
        else:
            raise refused_growth(edit.grow_by)
        assert len(kept) + len(grown) == grow_to
    return EntryDecision(stays=stays, grown=grown)


def _staying(
    drop_by: Criterion | Random,
    pattern: Pattern,
    shape: Shape,
    entries: Entries,
    drop_to: int,
    generator: Generator,
) -> Tensor:
    if isinstance(drop_by, Random):
        scores = torch.rand(entries.count, generator=generator)
    else:
        scores = _without_nan(entries.scores(drop_by, drop_to))
    if isinstance(pattern, Unstructured):  # every subset is legal: 8 bytes an entry less
        return top_entries(scores, drop_to, None)
    return pattern.select(entries.positions(None), scores, shape, drop_to)


def _best(
    edit: Edit,
    pattern: Pattern,
    shape: Shape,
    entries: Entries,
    dropped: Tensor,
    candidates: tuple[Tensor, Tensor],
    wanted: int,
) -> Tensor:
    """Of the absent candidates and of what the edit has just dropped, the `wanted` positions with the highest score to grow."""
    assert edit.grow_by is not None
    assert not isinstance(edit.grow_by, Random)
    scores = entries.scores(edit.grow_by, wanted)[dropped]
    if edit.exclude_dropped:
        scores = torch.full_like(scores, float("-inf"))
    positions, order = torch.cat([candidates[0], entries.positions(dropped)]).sort()
    pool = _without_nan(torch.cat([candidates[1], scores])[order])
    return positions[pattern.select(positions, pool, shape, wanted)]


def scored(rule: Criterion | Growth, weight: Tensor, gradient: Tensor | None, k: int) -> Tensor:
    """Scores [nnz] of the kept entries with these values, a piece at a time where the rule looks at each entry alone."""
    count = len(weight)
    size = PIECE if getattr(rule, "entrywise", False) else max(count, 1)
    scores = torch.empty_like(weight)
    for first in range(0, count, size):
        part = slice(first, first + size)
        values = weight[None, part]  # a criterion reads matrices
        view = View(
            weight=values,
            mask=torch.ones_like(values, dtype=torch.bool),
            gradient=None if gradient is None else gradient[None, part],
        )
        scores[part] = rule(view, k)[0]
    return scores


def first_places(
    edit: Edit,
    pattern: Pattern,
    shape: Shape,
    weight: Callable[[], Tensor] | None,
    drop_to: int,
    generator: Generator,
) -> Tensor:
    """The positions that an edit keeps of a weight that is whole. A criterion asks `weight` for [R, C]; a random choice does not."""
    if isinstance(edit.drop_by, Random):
        return pattern.draw(torch.empty(0, dtype=torch.int64), shape, drop_to, generator)
    assert edit.drop_by is not None
    if weight is None:
        raise EngineError(
            "the first masks rank the weights of a dense model, and this one is on the meta device, without any: expected "
            "initial='random', or a model with weights"
        )
    view = View(weight=weight(), mask=torch.ones(shape, dtype=torch.bool))
    return pattern.mask(edit.drop_by(view, drop_to), drop_to).flatten().nonzero().flatten()


def refused_growth(grow_by: Growth) -> EngineError:
    """Why a rule of growth cannot serve compact layers, and what can."""
    if isinstance(grow_by, All):
        return EngineError(
            "this edit makes whole weights dense, and compact layers have memory for their peak only: expected a method that grows "
            "some entries (SET, MEST); train this one masked, and compact_ the model when it is sparse"
        )
    return EngineError(
        "this edit grows by the gradient of absent weights, which compact layers never compute: expected random growth (SET, MEST, "
        "RigL(grow='random')); or train masked; or pay for the gradient in blocks of rows with "
        "Sparsifier(…, dense_gradients='blockwise')"
    )


def _without_nan(scores: Tensor) -> Tensor:
    if len(scores) and bool(scores.max().isnan()):  # a NaN is the largest of all
        raise EngineError(
            f"expected scores without NaN, got {int(torch.isnan(scores).sum())} NaN of {scores.numel()}: weights or gradients have "
            "become NaN, so training has diverged before this edit; lower the learning rate or clip gradients"
        )
    return scores
