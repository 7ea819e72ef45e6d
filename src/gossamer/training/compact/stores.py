"""The compact kind of `stores.Stores`: edits on kept values and their places, in place, without a dense tensor.

An edit selects among the kept entries and draws positions by index. Then values, gradient, optimizer state, Adam's births and averaged
copies move to the new order of the structure: a tensor [capacity] is rewritten as

    new[i] = old[source[i]] where entry i was there before, 0 where it is grown, 0 behind the last entry

The parameter object, its shape and its storage stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import EngineError, GossamerError
from gossamer.sparsity.criteria import Criterion
from gossamer.sparsity.growth import FILLS, Random
from gossamer.sparsity.patterns import Pattern
from gossamer.training.adam_counts import AdamCounts
from gossamer.training.compact.blockwise import candidates
from gossamer.training.compact.checks import compact_layer
from gossamer.training.compact.counts import no_ranking
from gossamer.training.compact.entries import Entries, decide_entries
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.compact.storage import Places
from gossamer.training.copies import Copy
from gossamer.training.decisions import Outcome
from gossamer.training.digests import digest_of_positions
from gossamer.training.edits import CountState, Edit
from gossamer.training.layers import Slot
from gossamer.training.optimizers import state_tensors, support_for
from gossamer.training.reports import LayerChange
from gossamer.training.stores import Gradients


class CompactStores:
    """The compact weights of a model. They hold all state themselves, so nothing is held beside the model."""

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self.slots = dict(slots)
        self._candidates: dict[str, tuple[Tensor, Tensor]] = {}  # of the edit that is prepared

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """Masks, made when one is asked for."""
        return _Masks(self._layer, tuple(self.slots))

    @property
    def nbytes(self) -> int:
        return 0

    def num_kept(self, name: str) -> int:
        return self._layer(name).num_kept

    @torch.no_grad()
    def mask_gradients(self) -> None:
        for name in self.slots:
            gradient = self.slots[name].weight.grad
            if gradient is not None:
                gradient[self.num_kept(name) :] = 0

    @torch.no_grad()
    def mask_weights(self) -> None:
        for name in self.slots:
            self.slots[name].weight[self.num_kept(name) :] = 0

    @torch.no_grad()
    def mask_state(self, optimizer: Optimizer) -> None:
        for name in self.slots:
            for tensor in state_tensors(optimizer, self.slots[name].weight):
                tensor[self.num_kept(name) :] = 0

    @torch.no_grad()
    def mask_copies(self, copies: Iterable[Copy]) -> None:
        for copy in copies:
            for name in self.slots:
                copy.tensor(name)[self.num_kept(name) :] = 0

    @torch.no_grad()
    def count_stray(self) -> int:
        return sum(int(self.slots[name].weight[self.num_kept(name) :].count_nonzero()) for name in self.slots)

    def digest(self) -> str:
        return self.digest_of_saved(self.saved())

    # Checkpoints.

    def saved(self) -> Mapping[str, Tensor]:
        """The places, which the state_dict of the model has too: so the two are checked against each other."""
        return {name: self._layer(name).places for name in self.slots}

    def digest_of_saved(self, saved: Mapping[str, Tensor]) -> str:
        return digest_of_positions(
            (name, self._layer(name).where.positions(saved[name]).sort().values) for name in sorted(saved)
        )

    @torch.no_grad()
    def load(self, name: str, saved: Tensor) -> None:
        """New places, before or after the model's own state_dict: entries in both keep their value."""
        layer = self._layer(name)
        if not torch.equal(layer.places, saved):
            move = _Move.between(layer.where, layer.places, saved)
            move.apply(layer.values)
            layer.places.copy_(saved)

    def snapshot(self, name: str) -> None:
        """Places and values come together in one state_dict: nothing can be lost between them."""

    def restore(self, values: Mapping[str, Tensor]) -> None:
        assert not values

    # Edits.

    def has_new_gradient(self, name: str, gradient: Tensor) -> bool:
        """Gradients have no dropped places that could tell; the first call of a step counts."""
        return False

    def watch(self, names: Collection[str]) -> None:
        for name in self.slots:
            self._layer(name).recorded = [] if name in names else None

    @torch.no_grad()
    def prepare(self, edit: Edit, patterns: Mapping[str, Pattern], state: CountState) -> None:
        """On every rank: the best absent entries of weights that grow by gradient, which rank 0 will choose from."""
        self._candidates.clear()
        if edit.grow_to is None or edit.grow_by is None or isinstance(edit.grow_by, Random):
            return
        drop_to = edit.drop_to(state) if edit.drop_to is not None else {}
        grow_to = edit.grow_to(state)
        for name in state.scope:
            wanted = grow_to[name] - min(state.num_kept[name], drop_to.get(name, state.num_kept[name]))
            if wanted > 0:
                self._candidates[name] = candidates(self._layer(name), edit.grow_by, patterns[name], wanted)
            self._layer(name).recorded = None

    def decide(
        self,
        edit: Edit,
        patterns: Mapping[str, Pattern],
        state: CountState,
        generator: torch.Generator,
        gradients: Gradients | None,
    ) -> Outcome:
        drop_to = edit.drop_to(state) if edit.drop_to is not None else {}
        grow_to = edit.grow_to(state) if edit.grow_to is not None else {}
        outcome = {}
        for name in state.scope:
            layer = self._layer(name)
            try:
                decision = decide_entries(
                    edit,
                    patterns[name],
                    layer.where.matrix,
                    self._entries(name, gradients),
                    drop_to.get(name),
                    grow_to.get(name),
                    generator,
                    self._candidates.get(name),
                )
            except GossamerError as error:
                raise type(error)(f"{name!r}: {error}") from None
            outcome[f"stays/{name}"] = decision.stays
            outcome[f"grown/{name}"] = torch.full((layer.capacity,), -1, dtype=torch.int64)
            outcome[f"grown/{name}"][: len(decision.grown)] = decision.grown
        return outcome

    def outcome_like(self) -> Outcome:
        """`stays` for the kept entries by ascending position, and `grown` positions, -1 behind the last one."""
        like = {}
        for name in self.slots:
            layer = self._layer(name)
            like[f"stays/{name}"] = torch.empty(layer.num_kept, dtype=torch.bool)
            like[f"grown/{name}"] = torch.empty(layer.capacity, dtype=torch.int64)
        return like

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
        if edit.fill is not FILLS["zero"]:
            raise EngineError(f"{name!r}: expected the fill zero for compact layers, got {edit.fill}")
        layer, stays, grown = self._layer(name), outcome[f"stays/{name}"], outcome[f"grown/{name}"]
        held, grown = layer.positions().sort().values, grown[grown >= 0]
        places = layer.where.pack(torch.cat([held[stays], grown]))
        move = _Move.between(layer.where, layer.places, places, fresh=grown)
        weight = self.slots[name].weight
        tensors = [weight] if weight.grad is None else [weight, weight.grad]
        tensors += state_tensors(optimizer, weight) if optimizer is not None else ()
        for copy in copies:
            tensors.append(copy.tensor(name))
            held_by_copy = copy.places(name)
            if held_by_copy is not None:
                held_by_copy.copy_(places)
        for tensor in tensors:
            move.apply(tensor)
        if adam is not None:
            adam.move(name, move.apply)
            if optimizer is not None and support_for(optimizer).counts == "adam":
                nothing = torch.zeros_like(move.fresh)
                adam.record(name, weight, optimizer, grown=move.fresh, dropped=nothing)
        layer.places.copy_(places)
        dropped = len(stays) - int(stays.sum())
        again = torch.isin(grown, held[~stays])
        return LayerChange(
            dropped=dropped, grown=len(grown), regrown=int(again.sum()), num_kept=layer.num_kept
        )

    def ranking_scores(
        self, criterion: Criterion, names: Sequence[str], gradients: Gradients | None
    ) -> dict[str, Tensor]:
        no_ranking()

    def _layer(self, name: str) -> CompactLayer:
        return compact_layer(self.slots[name])

    def _entries(self, name: str, gradients: Gradients | None) -> Entries:
        layer, weight = self._layer(name), self.slots[name].weight.detach()
        positions, order = layer.positions().sort()
        return Entries(
            positions=positions,
            weight=weight[order],
            gradient=None if gradients is None else gradients(name, weight)[order],
        )


@dataclass(frozen=True, kw_only=True)
class _Move:
    """How the tensors [capacity] of a weight are rewritten."""

    source: Tensor  # int64 [new number of entries]: where each one stood
    there: Tensor  # bool [new number of entries]: False where it starts afresh
    fresh: Tensor  # bool [capacity]: grown

    @classmethod
    def between(cls, where: Places, old: Tensor, new: Tensor, fresh: Tensor | None = None) -> _Move:
        """From places to places; `fresh` positions start afresh even if they stood there before."""
        before, after = where.keys(where.positions(old)), where.keys(where.positions(new))
        source = torch.searchsorted(before, after).clamp_(max=max(len(before) - 1, 0))
        there = before[source] == after if len(before) else torch.zeros(len(after), dtype=torch.bool)
        grown = torch.zeros(where.capacity, dtype=torch.bool)
        if fresh is not None:
            grown[: len(after)] = torch.isin(after, where.keys(fresh))
            there = there & ~grown[: len(after)]
        return cls(source=source, there=there, fresh=grown)

    def apply(self, tensor: Tensor, empty: float = 0) -> None:
        """Rewrites one tensor in place; `empty` is what grown entries, and the room behind the last one, hold."""
        moved = torch.full_like(tensor, empty)
        moved[: len(self.source)][self.there] = tensor[self.source[self.there]]
        tensor.copy_(moved)


class _Masks(Mapping[str, Tensor]):
    """Masks by weight name, each made when it is asked for."""

    def __init__(self, layer: Callable[[str], CompactLayer], names: tuple[str, ...]) -> None:
        self._layer, self._names = layer, names

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._layer(name).mask()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
