"""The compact kind of `stores.Stores`: edits on kept values and their places, in place, without a dense tensor.

An edit selects among the kept entries and draws positions by index. Then values, gradient, optimizer state, Adam's births and averaged
copies move to the new order of the structure: a tensor [capacity] is rewritten in place as

    the entries that stay, in their order, 0 where one is grown, 0 behind the last entry

The parameter object, its shape and its storage stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import EngineError, GossamerError
from gossamer.sparsity.criteria import Criterion
from gossamer.sparsity.growth import FILLS, Growth, Random
from gossamer.sparsity.patterns import Pattern
from gossamer.training.adam_counts import AdamCounts
from gossamer.training.compact.blockwise import candidates
from gossamer.training.compact.checks import compact_layer
from gossamer.training.compact.entries import Entries, decide_entries, scored
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.compact.moves import Move, edited
from gossamer.training.copies import Copy
from gossamer.training.decisions import Outcome
from gossamer.training.digests import digest_of_positions
from gossamer.training.edits import CountState, Edit, after_drop, after_edit
from gossamer.training.foresight import no_ranking
from gossamer.training.heap import trim
from gossamer.training.layers import Slot
from gossamer.training.optimizers import state_tensors, support_for
from gossamer.training.reports import LayerChange
from gossamer.training.stores import Gradients


class CompactStores:
    """The compact weights of a model. They hold all state themselves, so nothing is held beside the model."""

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self.slots = dict(slots)
        self._candidates: dict[str, tuple[Tensor, Tensor]] = {}  # of the edit that is prepared
        self._grown: dict[str, int] = {}  # how many entries of each weight it grows

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
                self._check_places(copy, name)
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
            (
                name,
                where.num_kept(data),
                (where.positions_in(data, r).sort().values for r in where.ranges(data)),
            )
            for name, where, data in ((name, self._layer(name).where, saved[name]) for name in sorted(saved))
        )

    @torch.no_grad()
    def load(self, name: str, saved: Tensor) -> None:
        """New places, before or after the model's own state_dict: entries in both keep their value."""
        layer = self._layer(name)
        if not torch.equal(layer.places, saved):
            move = Move.between(layer.where, layer.places, saved)
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

    def make_room(self) -> None:
        for name in self.slots:
            self._layer(name).release()
        trim(max(slot.weight.numel() for slot in self.slots.values()))

    def watch(self, names: Collection[str]) -> None:
        for name in self.slots:
            self._layer(name).recorded = [] if name in names else None

    @torch.no_grad()
    def prepare(self, edit: Edit, patterns: Mapping[str, Pattern], state: CountState) -> None:
        """On every rank: the best absent entries of weights that grow by gradient, which rank 0 will choose from."""
        self._candidates.clear()
        after = after_edit(edit, state)
        self._grown = {name: after[name] - kept for name, kept in after_drop(edit, state).items()}
        if edit.grow_by is None or isinstance(edit.grow_by, Random):
            return
        for name, wanted in self._grown.items():
            if wanted:
                layer = self._layer(name)
                self._candidates[name] = candidates(layer, edit.grow_by, patterns[name], wanted)
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
            outcome[f"grown/{name}"] = decision.grown
            trim(len(decision.stays))
        return outcome

    def outcome_like(self) -> Outcome:
        """`stays` for the kept entries by ascending position, and `grown` positions, as many as the prepared edit grows."""
        like = {}
        for name, grown in self._grown.items():
            like[f"stays/{name}"] = torch.empty(self.num_kept(name), dtype=torch.bool)
            like[f"grown/{name}"] = torch.empty(grown, dtype=torch.int64)
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
        trim(len(stays))
        places, regrown = edited(layer.where, layer.places, stays, grown)
        move = Move.between(layer.where, layer.places, places, fresh=grown)
        weight = self.slots[name].weight
        tensors = [weight] if weight.grad is None else [weight, weight.grad]
        tensors += state_tensors(optimizer, weight) if optimizer is not None else ()
        for copy in copies:
            self._check_places(copy, name)
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
        return LayerChange(
            dropped=len(stays) - int(stays.count_nonzero()),
            grown=len(grown),
            regrown=regrown,
            num_kept=layer.num_kept,
        )

    def ranking_scores(
        self, criterion: Criterion, names: Sequence[str], gradients: Gradients | None
    ) -> dict[str, Tensor]:
        no_ranking()

    def _layer(self, name: str) -> CompactLayer:
        return compact_layer(self.slots[name])

    def _check_places(self, copy: Copy, name: str) -> None:
        """EngineError if a copy's values stand elsewhere: they would be averaged with values of other entries."""
        held, places = copy.places(name), self._layer(name).places
        if held is not None and not torch.equal(held.to(places.dtype), places):
            raise EngineError(
                f"ema: expected the places of {name!r} as the model has them, got others: bytes of places cannot be averaged, so average "
                "parameters only (AveragedModel with use_buffers=False), and load a copy together with its model"
            )

    def _entries(self, name: str, gradients: Gradients | None) -> Entries:
        layer, weight = self._layer(name), self.slots[name].weight.detach()
        gradient = None if gradients is None else gradients(name, weight)
        return Entries(
            count=layer.num_kept,
            positions=partial(layer.where.ascending, layer.places),
            scores=partial(_scores, layer, weight, gradient),
        )


def _scores(
    layer: CompactLayer, weight: Tensor, gradient: Tensor | None, rule: Criterion | Growth, k: int
) -> Tensor:
    """By ascending position, in which blocks do not stand."""
    where, count = layer.where, layer.num_kept
    scores = scored(rule, weight[:count], None if gradient is None else gradient[:count], k)
    filled = 0
    for lines in where.ranges(layer.places) if where.unit > 1 else ():
        order = where.positions_in(layer.places, lines).argsort()
        here = scores[filled : filled + len(order)]
        here.copy_(here[order])
        filled += len(order)
    return scores


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
