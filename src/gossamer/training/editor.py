"""Carries out edits: gathers what scores need, decides on rank 0, writes masks, fills grown weights, keeps the history.

Random choices come from one generator an event, seeded by (run seed, event number), so a resumed run draws what it would have drawn.
"""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.criteria import CRITERIA, View
from gossamer.sparsity.patterns import Pattern
from gossamer.sparsity.view import as_matrix, from_matrix
from gossamer.training import ranks
from gossamer.training.adam_counts import AdamCounts
from gossamer.training.capture import DenseGradients
from gossamer.training.counting import counts_at, ranked_counts
from gossamer.training.decisions import Decision, decide_edit
from gossamer.training.edits import CountState, Edit, names_in
from gossamer.training.masks import MaskOwner
from gossamer.training.methods.method import Method
from gossamer.training.optimizers import check_state_can_be_edited, support_for
from gossamer.training.reports import EditRecord, LayerChange


class Editor:
    """Runs the edits of one method on the masks of one owner."""

    def __init__(
        self,
        method: Method,
        pattern: Pattern,
        owner: MaskOwner,
        shapes: Mapping[str, LayerShape],
        *,
        seed: int,
        per_weight_counts: bool,
    ) -> None:
        self.method, self.pattern, self.owner, self.shapes = method, pattern, owner, shapes
        self.patterns = {name: pattern.for_weight(shapes[name].weight) for name in owner.slots}
        self.seed = seed
        self.event = 0  # edits so far: with the seed, the state of all randomness
        self.adam = AdamCounts() if per_weight_counts else None
        self.gradients = DenseGradients()
        self.history: list[EditRecord] = []
        self.peak_kept = 0

    def num_kept(self) -> int:
        """Weights kept in the whole network, dense layers included."""
        kept = self.owner.kept
        return sum(
            int(kept[name].sum()) if name in kept else shape.numel for name, shape in self.shapes.items()
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

    def take_gradients(self, next_step: int) -> None:
        """Copies the dense gradients that the edits after this step will rank."""
        names = {
            name
            for edit in self.method.edits_at(next_step)
            if "gradient" in edit.needs
            for name in self._scope(edit)
        }
        if names:
            self.gradients.take(self.owner, names)

    def run(self, step: int, optimizer: Optimizer | None) -> bool:
        """Carries out the edits after `step`; True if there were any."""
        edits = self.method.edits_at(step)
        for edit in edits:
            self._run(edit, step, optimizer)
        return bool(edits)

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
        kept = self.owner.kept
        like = {f"{kind}/{name}": kept[name] for name in kept for kind in ("mask", "fresh")}
        outcome = ranks.decide(lambda: self._compute(edit), like)
        changes = {
            name: self._change(
                name, Decision(mask=outcome[f"mask/{name}"], fresh=outcome[f"fresh/{name}"]), edit, optimizer
            )
            for name in self._scope(edit)
        }
        self.note_kept()
        self.history.append(EditRecord(step=step, layers=changes, mask_hash=self.digest()))

    def _compute(self, edit: Edit) -> dict[str, Tensor]:
        seed = (
            int.from_bytes(hashlib.sha256(f"{self.seed}/{self.event}".encode()).digest()[:8], "little") >> 1
        )
        gradients = "gradient" in edit.needs
        views = {name: self._view(name, gradients=gradients) for name in self._scope(edit)}
        state = CountState(
            num_kept={name: self.owner.num_kept(name) for name in self.owner.kept},
            legal={name: pattern.counts(self.shapes[name].matrix) for name, pattern in self.patterns.items()},
            allocate=lambda sparsity, how: counts_at(
                sparsity,
                how or self.method.allocation,
                self.pattern,
                self.shapes,
                lambda: self._ranking_scores(tuple(self.owner.slots)),
            ),
            rank=lambda names, total: ranked_counts(
                {name: self.shapes[name] for name in names}, total, self.pattern, self._ranking_scores(names)
            ),
            scope=tuple(views),
        )
        decisions = decide_edit(edit, self.patterns, views, state, torch.Generator().manual_seed(seed))
        outcome = {}
        for name, decision in decisions.items():
            shape = self.shapes[name].weight
            outcome[f"mask/{name}"] = from_matrix(decision.mask, shape)
            outcome[f"fresh/{name}"] = from_matrix(decision.fresh, shape)
        return outcome

    def _change(self, name: str, decision: Decision, edit: Edit, optimizer: Optimizer | None) -> LayerChange:
        """Writes one decision (tensors in the weight's shape): grown entries get their first value, empty state and a birth."""
        before = self.owner.kept[name]
        regrown = before & decision.fresh
        dropped = (before & ~decision.mask) | regrown
        if bool(decision.fresh.any()):
            view, grown = self._view(name), as_matrix(decision.fresh)
            values = torch.zeros_like(view.weight)
            values[grown] = edit.fill(view, grown).to(values.dtype)
            self.owner.start_entries(
                name, decision.fresh, from_matrix(values, self.shapes[name].weight), optimizer
            )
        if self.adam is not None and optimizer is not None and support_for(optimizer).counts == "adam":
            self.adam.record(
                name, self.owner.slots[name].weight, optimizer, grown=decision.fresh, dropped=dropped
            )
        self.owner.put(name, decision.mask)
        return LayerChange(
            dropped=int(dropped.sum()),
            grown=int(decision.fresh.sum()),
            regrown=int(regrown.sum()),
            num_kept=int(decision.mask.sum()),
        )

    def _view(self, name: str, *, gradients: bool = False) -> View:
        weight = self.owner.slots[name].weight.detach()
        return View(
            weight=as_matrix(weight),
            mask=as_matrix(self.owner.kept[name]),
            gradient=as_matrix(self.gradients.of(name, weight)) if gradients else None,
        )

    def _ranking_scores(self, names: Sequence[str]) -> dict[str, Tensor]:
        criterion = CRITERIA[self.method.criterion]
        scores = {}
        for name in names:
            view = self._view(name, gradients="gradient" in criterion.needs)
            scores[name] = criterion(view, int(view.mask.sum())).masked_fill(~view.mask, float("-inf"))
        return scores

    def _scope(self, edit: Edit) -> tuple[str, ...]:
        return names_in(edit.scope, self.shapes)
