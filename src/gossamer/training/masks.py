"""The mask owner: the only code that writes a masked weight, its gradient or its optimizer state. The masked kind of `stores.Stores`.

A mask is bool, True = kept, and has the shape of its weight. What is dropped is exactly +0.0 afterwards, whatever stood there: values
are filled, not multiplied, because 0 * inf and 0 * nan are nan, and because a negative weight times zero is -0.0.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import EngineError, PatternError
from gossamer.sparsity.criteria import Criterion, View
from gossamer.sparsity.patterns import Pattern
from gossamer.sparsity.view import as_matrix, from_matrix
from gossamer.training.adam_counts import AdamCounts
from gossamer.training.copies import Copy
from gossamer.training.decisions import Outcome, decide_edit
from gossamer.training.digests import digest_of_positions
from gossamer.training.edits import CountState, Edit
from gossamer.training.layers import Slot
from gossamer.training.optimizers import state_tensors, support_for
from gossamer.training.reports import LayerChange
from gossamer.training.stores import Gradients


class MaskOwner:
    """The masks of a set of weights, and the zeros that follow from them."""

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self.slots = dict(slots)
        self._kept: dict[str, Tensor] = {}
        self._dropped: dict[str, Tensor] = {}  # only weights with something dropped: the others need no work
        for name, slot in self.slots.items():
            self.put(name, torch.ones_like(slot.weight, dtype=torch.bool, requires_grad=False))

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """Masks by weight name; read-only."""
        return MappingProxyType(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of the masks: what is kept, and for weights with something dropped the complement."""
        return sum(mask.nbytes for masks in (self._kept, self._dropped) for mask in masks.values())

    def num_kept(self, name: str) -> int:
        return int(self._kept[name].sum())

    def saved(self) -> Mapping[str, Tensor]:
        """What a checkpoint holds of every weight: its mask."""
        return self.kept

    def load(self, name: str, saved: Tensor) -> None:
        self.put(name, saved)

    def snapshot(self, name: str) -> Tensor | None:
        """A copy of a weight as it is, for `restore`."""
        return self.slots[name].weight.detach().clone()

    def put(self, name: str, mask: Tensor) -> None:
        """Replaces a mask. It is stored on the device and in the memory layout of its weight, so that filling is one plain pass."""
        weight = self.slots[name].weight
        self._kept[name] = _placed(mask, weight)
        if bool(mask.all()):
            self._dropped.pop(name, None)
        else:
            self._dropped[name] = _placed(~mask, weight)

    @torch.no_grad()
    def mask_gradients(self) -> None:
        for name, dropped in self._current():
            gradient = self.slots[name].weight.grad
            if gradient is not None:
                gradient.masked_fill_(dropped, 0.0)

    @torch.no_grad()
    def mask_weights(self) -> None:
        for name, dropped in self._current():
            self.slots[name].weight.masked_fill_(dropped, 0.0)

    @torch.no_grad()
    def mask_state(self, optimizer: Optimizer) -> None:
        for name, dropped in self._current():
            for tensor in state_tensors(optimizer, self.slots[name].weight):
                tensor.masked_fill_(dropped, 0)

    @torch.no_grad()
    def mask_copies(self, copies: Iterable[Copy]) -> None:
        """Masks averaged copies of the weights."""
        for copy in copies:
            for name, dropped in self._current():
                tensor = copy.tensor(name)
                tensor.masked_fill_(dropped.to(tensor.device), 0.0)

    # Edits.

    def has_new_gradient(self, name: str, gradient: Tensor) -> bool:
        """True if a backward pass has written this gradient since it was masked: a dropped place is not zero."""
        return bool(gradient[~self._kept[name]].any())

    def make_room(self) -> None:
        """Everything is dense, and stays."""

    def watch(self, names: Collection[str]) -> None:
        """Gradients of dense weights are there anyway."""

    def prepare(self, edit: Edit, patterns: Mapping[str, Pattern], state: CountState) -> None:
        """Gradients are averaged over ranks already."""

    def decide(
        self,
        edit: Edit,
        patterns: Mapping[str, Pattern],
        state: CountState,
        generator: torch.Generator,
        gradients: Gradients | None,
    ) -> Outcome:
        views = {name: self._view(name, gradients) for name in state.scope}
        outcome = {}
        for name, decision in decide_edit(edit, patterns, views, state, generator).items():
            shape = tuple(self.slots[name].weight.shape)
            outcome[f"mask/{name}"] = from_matrix(decision.mask, shape)
            outcome[f"fresh/{name}"] = from_matrix(decision.fresh, shape)
        return outcome

    def outcome_like(self) -> Outcome:
        return {f"{kind}/{name}": kept for name, kept in self._kept.items() for kind in ("mask", "fresh")}

    @torch.no_grad()
    def apply(
        self,
        name: str,
        outcome: Mapping[str, Tensor],
        edit: Edit,
        optimizer: Optimizer | None,
        adam: AdamCounts | None,
        copies: Iterable[Copy],
    ) -> LayerChange:
        """Grown entries get their first value, empty state, an average of zero and a birth."""
        before, mask, fresh = self._kept[name], outcome[f"mask/{name}"], outcome[f"fresh/{name}"]
        weight = self.slots[name].weight
        regrown = before & fresh
        dropped = (before & ~mask) | regrown
        if bool(fresh.any()):
            view, grown = self._view(name), as_matrix(fresh)
            values = torch.zeros_like(view.weight)
            values[grown] = edit.fill(view, grown).to(values.dtype)
            weight.copy_(torch.where(fresh, from_matrix(values, tuple(weight.shape)), weight))
            for tensor in state_tensors(optimizer, weight) if optimizer is not None else ():
                tensor.masked_fill_(fresh, 0)
            for copy in copies:
                averaged = copy.tensor(name)
                averaged.masked_fill_(fresh.to(averaged.device), 0.0)
        if adam is not None and optimizer is not None and support_for(optimizer).counts == "adam":
            adam.record(name, weight, optimizer, grown=fresh, dropped=dropped)
        self.put(name, mask)
        return LayerChange(
            dropped=int(dropped.sum()),
            grown=int(fresh.sum()),
            regrown=int(regrown.sum()),
            num_kept=int(mask.sum()),
        )

    def ranking_scores(
        self, criterion: Criterion, names: Sequence[str], gradients: Gradients | None
    ) -> dict[str, Tensor]:
        """The scores of active entries, -inf elsewhere, as matrices: what a global ranking compares."""
        scores = {}
        for name in names:
            view = self._view(name, gradients)
            scores[name] = criterion(view, int(view.mask.sum())).masked_fill(~view.mask, float("-inf"))
        return scores

    def _view(self, name: str, gradients: Gradients | None = None) -> View:
        weight = self.slots[name].weight.detach()
        return View(
            weight=as_matrix(weight),
            mask=as_matrix(self._kept[name]),
            gradient=None if gradients is None else as_matrix(gradients(name, weight)),
        )

    @torch.no_grad()
    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Writes back weights as they were before they were masked, except those that somebody has written since."""
        for name, tensor in values.items():
            weight = self.slots[name].weight
            masked = tensor.masked_fill(~self._kept[name].to(tensor.device), 0.0)
            if (weight.dtype, weight.device) == (masked.dtype, masked.device) and torch.equal(weight, masked):
                weight.copy_(tensor)

    @torch.no_grad()
    def count_stray(self) -> int:
        """Weights that are not zero although they are dropped: somebody else wrote them."""
        return sum(int(self.slots[name].weight[dropped].count_nonzero()) for name, dropped in self._current())

    def digest(self) -> str:
        """SHA-256 of all masks, in order of name: the same on every rank, device and memory layout."""
        return digest_of(self._kept)

    def digest_of_saved(self, saved: Mapping[str, Tensor]) -> str:
        return digest_of(saved)

    def _current(self) -> list[tuple[str, Tensor]]:
        """Names and dropped entries, moved first where a weight has changed its device or layout."""
        for name, dropped in self._dropped.items():
            weight = self.slots[name].weight
            if weight.device != dropped.device or weight.stride() != dropped.stride():
                self._kept[name] = _placed(self._kept[name], weight)
                self._dropped[name] = _placed(dropped, weight)
        return list(self._dropped.items())


def _placed(mask: Tensor, weight: Tensor) -> Tensor:
    """A copy of `mask` on the device and with the strides of `weight` (`~mask` itself forgets the strides of dimensions of size 1)."""
    return torch.empty_like(weight, dtype=torch.bool, requires_grad=False).copy_(mask)


def digest_of(masks: Mapping[str, Tensor]) -> str:
    """SHA-256 of masks, in order of name."""
    found = ((name, as_matrix(masks[name]).flatten().nonzero().flatten()) for name in sorted(masks))
    return digest_of_positions((name, len(positions), [positions]) for name, positions in found)


def put_given(owner: MaskOwner, masks: Mapping[str, Tensor], pattern: Pattern) -> None:
    """Takes over a user's masks, one for each weight of the owner, if they are bool, of the right shape and legal in the pattern."""
    for name, current in owner.kept.items():
        mask = masks.get(name)
        if mask is None or mask.shape != current.shape or mask.dtype != torch.bool:
            got = "none" if mask is None else f"{mask.dtype} of shape {tuple(mask.shape)}"
            raise EngineError(
                f"masks: expected a bool mask of {name!r} of shape {tuple(current.shape)}, got {got}"
            )
        try:
            pattern.for_weight(tuple(mask.shape)).check(as_matrix(mask))
        except PatternError as error:
            raise PatternError(f"masks: {name!r}: {error}") from None
    for name in owner.slots:
        owner.put(name, masks[name])
