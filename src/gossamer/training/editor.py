"""Carries out edits: gathers what scores need, has the stores decide on rank 0 and write, keeps the history.

Random choices come from one generator an event, seeded by (run seed, event number), so a resumed run draws what it would have drawn.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.criteria import CRITERIA
from gossamer.sparsity.patterns import Pattern
from gossamer.training import ranks
from gossamer.training.adam_counts import AdamCounts
from gossamer.training.capture import DenseGradients
from gossamer.training.checkpoint import Saved
from gossamer.training.copies import Copy
from gossamer.training.counting import Allocations, ranked_counts
from gossamer.training.edits import CountState, Edit, after_drop, after_edit, names_in
from gossamer.training.foresight import no_ranking, state_of
from gossamer.training.methods.method import Method
from gossamer.training.optimizers import check_state_can_be_edited
from gossamer.training.randomness import event_generator
from gossamer.training.reports import EditRecord, LayerChange
from gossamer.training.stores import Stores


class Editor:
    """Runs the edits of one method on the weights of one owner."""

    def __init__(
        self,
        method: Method,
        pattern: Pattern,
        owner: Stores,
        shapes: Mapping[str, LayerShape],
        *,
        copies: Sequence[Copy],
        seed: int,
        per_weight_counts: bool,
    ) -> None:
        self.method, self.pattern, self.owner, self.shapes = method, pattern, owner, shapes
        self.copies = copies
        self.network = Allocations(method.allocation, pattern, shapes)
        self.patterns = {name: pattern.for_weight(shapes[name].weight) for name in owner.slots}
        self.seed = seed
        self.event = 0  # edits so far: with the seed, the state of all randomness
        self.adam = AdamCounts() if per_weight_counts else None
        self.gradients = DenseGradients()
        self.history: list[EditRecord] = []
        self.peak_kept = 0

    def num_kept(self) -> int:
        """Weights kept in the whole network, dense layers included."""
        return sum(
            self.owner.num_kept(name) if name in self.owner.slots else shape.numel
            for name, shape in self.shapes.items()
        )

    @torch.no_grad()
    def correct_adam(self, optimizer: Optimizer) -> None:
        """After the optimizer's step: recently grown weights get the update of their own step counts."""
        if self.adam is None or not self.adam.births:
            return
        groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
        for name in list(self.adam.births):
            weight = self.owner.slots[name].weight
            if weight.grad is not None and id(weight) in groups:
                self.adam.correct(name, weight, optimizer, groups[id(weight)])

    def forget_births(self) -> None:
        """Another optimizer has come, whose step counts mean nothing to the births noted so far."""
        if self.adam is not None:
            self.adam = AdamCounts()

    def load(self, saved: Saved) -> None:
        """Takes over what a checkpoint remembers of edits."""
        self.seed, self.event, self.peak_kept = saved.seed, saved.event, saved.peak_kept
        self.history = list(saved.history)
        self.gradients.clear()
        if self.adam is not None:
            self.adam.load(saved.births)

    def take_gradients(self, next_step: int) -> None:
        """Makes room for the edits after this step, and copies the dense gradients that they will rank."""
        edits = self.method.edits_at(next_step)
        if edits:
            self.owner.make_room()
        self.gradients.take(
            self.owner, {name for edit in edits if "gradient" in edit.needs for name in self._scope(edit)}
        )

    def watch(self, next_step: int) -> None:
        """Tells the stores which weights will grow by gradient after the step to come."""
        self.owner.watch(
            {
                name
                for edit in self.method.edits_at(next_step)
                if edit.grow_by is not None and "gradient" in edit.grow_by.needs
                for name in self._scope(edit)
            }
        )

    def run(self, step: int, optimizer: Optimizer | None) -> bool:
        """Carries out the edits after `step`; True if there were any."""
        edits = self.method.edits_at(step)
        for edit in edits:
            self._run(edit, step, optimizer)
        return bool(edits)

    def adopt_start(self) -> None:
        """The edits at step 0 of compact weights: `compact_` has carried them out, so they are only counted and recorded."""
        edits = self.method.edits_at(0)
        num_kept = {name: self.shapes[name].numel for name in self.owner.slots}
        for edit in edits:
            self.event += 1
            scope, before = self._scope(edit), num_kept
            if (
                len(edits) == 1 and edit.grow_to is None
            ):  # as they are: a global ranking could not be repeated
                dropped = num_kept = {name: self.owner.num_kept(name) for name in scope}
            else:
                state = state_of(self.network, before, edit, no_ranking)
                dropped, num_kept = after_drop(edit, state), {**before, **after_edit(edit, state)}
            changes = {
                name: LayerChange(
                    dropped=before[name] - dropped[name],
                    grown=num_kept[name] - dropped[name],
                    regrown=0,
                    num_kept=num_kept[name],
                )
                for name in scope
            }
            self.history.append(EditRecord(step=0, layers=changes, mask_hash=self.digest()))

    def note_kept(self, *, start: bool = False) -> None:
        """Keeps the peak up to date; `start` begins it anew."""
        self.peak_kept = self.num_kept() if start else max(self.peak_kept, self.num_kept())

    def digest(self) -> str:
        """The hash of all masks, compared over all ranks."""
        digest = self.owner.digest()
        ranks.check_equal(digest, next(iter(self.owner.slots.values())).weight.device)
        return digest

    def _run(self, edit: Edit, step: int, optimizer: Optimizer | None) -> None:
        if optimizer is not None:
            for name in self._scope(edit):
                check_state_can_be_edited(optimizer, self.owner.slots[name].weight, name)
        self.event += 1
        state = self._state(edit)
        self.owner.prepare(edit, self.patterns, state)
        outcome = ranks.decide(lambda: self._decide(edit, state), self.owner.outcome_like())
        changes = {
            name: self.owner.apply(name, outcome, edit, optimizer, self.adam, self.copies)
            for name in self._scope(edit)
        }
        self.note_kept()
        self.history.append(EditRecord(step=step, layers=changes, mask_hash=self.digest()))

    def _state(self, edit: Edit) -> CountState:
        return CountState(
            num_kept={name: self.owner.num_kept(name) for name in self.owner.slots},
            legal=self.network.legal,
            allocate=lambda sparsity, how: self.network.at(
                sparsity, how, lambda: self._ranking_scores(tuple(self.owner.slots))
            ),
            rank=lambda names, total: ranked_counts(
                {name: self.shapes[name] for name in names}, total, self.pattern, self._ranking_scores(names)
            ),
            scope=self._scope(edit),
            shapes=self.shapes,
            once=self.network.once,
        )

    def _decide(self, edit: Edit, state: CountState) -> dict[str, Tensor]:
        gradients = self.gradients.of if "gradient" in edit.needs else None
        return self.owner.decide(
            edit, self.patterns, state, event_generator(self.seed, self.event), gradients
        )

    def _ranking_scores(self, names: Sequence[str]) -> dict[str, Tensor]:
        criterion = CRITERIA[self.method.criterion]
        gradients = self.gradients.of if "gradient" in criterion.needs else None
        return self.owner.ranking_scores(criterion, names, gradients)

    def _scope(self, edit: Edit) -> tuple[str, ...]:
        return names_in(edit.scope, self.shapes)
