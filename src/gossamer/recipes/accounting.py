"""The books of a recipe's run: memory by kind, predicted and measured, MACs and examples, and the sieve that saves some of them.

One forward pass of one batch, before the first step, tells how often each weight is used and what is kept for the backward pass; it
leaves no trace in the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.recipes.calendar import Calendar, calendar_of
from gossamer.recipes.validate import Plan
from gossamer.tasks.images import ImageData, Integers, epoch_order
from gossamer.training import Sparsifier
from gossamer.training.cost import CostMeter, profile_batch
from gossamer.training.footprint import footprint
from gossamer.training.memory import measured_memory
from gossamer.training.sieve import Sieve, SieveReport


class Accounting:
    """A cost meter, a sieve where the recipe has one, and the calendar that follows from it."""

    def __init__(
        self,
        plan: Plan,
        data: ImageData,
        model: nn.Module,
        optimizer: Optimizer,
        sparsifier: Sparsifier | None,
        loss: Callable[[Integers], Tensor],
    ) -> None:
        """loss: the forward pass of the training images with these indices."""
        self._plan, self._model, self._optimizer, self._sparsifier = plan, model, optimizer, sparsifier
        batch = plan.recipe.train.batch_size
        model.train()
        profile = profile_batch(model, lambda: loss(np.arange(batch, dtype=np.int64)), examples=batch)
        self.activations = profile.activations
        self.meter = CostMeter(profile.layers, sparsifier)
        self.sieve: Sieve | None = None
        settings = plan.recipe.train.sieve
        if settings is not None:
            labels = torch.from_numpy(data.train.labels)
            self.sieve = Sieve(
                settings,
                num_examples=len(labels),
                seed=plan.recipe.seed,
                labels=labels,
                device=plan.recipe.device,
            )
        self._num_examples = len(data.train)
        self.calendar = self._calendar()

    def order(self, epoch: int) -> Integers:
        """The training images of an epoch in their order, without those that the sieve has removed."""
        order = epoch_order(self._num_examples, seed=self._plan.recipe.seed, epoch=epoch)
        if self.sieve is None or not self.sieve.done:
            return order
        return order[np.isin(order, self.sieve.kept.numpy())]

    def after_step(self, indices: Integers, logits: Tensor, labels: Tensor) -> None:
        """A step on these examples has been made."""
        self.meter.step(len(indices))
        if self.sieve is not None:
            self.sieve.observe(torch.from_numpy(indices), logits.detach().argmax(dim=1) == labels)

    def end_epoch(self) -> SieveReport | None:
        """After the last step of an epoch; the report of a removal, if there was one."""
        if self.sieve is None:
            return None
        if self.sieve.done:
            spared = self.calendar.steps_per_epoch - self.calendar.shorter_steps
            self.meter.leave_out(spared * self._plan.recipe.train.batch_size)
        report = self.sieve.end_epoch()
        self.calendar = self._calendar()
        return report

    def row(self) -> dict[str, int]:
        """What a line of the metrics says; memory: bytes held by training now, of all kinds."""
        held = measured_memory(self._model, self._optimizer, self._sparsifier, activations=self.activations)
        return {"examples": self.meter.examples, "macs": self.meter.macs, "memory": held.total}

    def result(self) -> dict[str, Any]:
        """What the result says."""
        report = self.meter.report()
        removal = None if self.sieve is None or self.sieve.report is None else self.sieve.report.to_dict()
        memory = footprint(
            self._model,
            self._optimizer,
            self._sparsifier,
            peak_kept=report.peak_kept,
            activations=self.activations,
        )
        return {"cost": report.to_dict(), "memory": memory, "sieve": removal}

    def state(self) -> dict[str, Any]:
        """Resumable: plain values and tensors."""
        return {
            "meter": self.meter.state_dict(),
            "sieve": None if self.sieve is None else self.sieve.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there; the Sparsifier has been restored before."""
        self.meter.load_state_dict(state["meter"])
        if self.sieve is not None:
            self.sieve.load_state_dict(state["sieve"])
        self.calendar = self._calendar()

    def _calendar(self) -> Calendar:
        train = self._plan.recipe.train
        sieved = None
        if self.sieve is not None and self.sieve.report is not None:
            sieved = self.sieve.settings.at_epoch, 1 - self.sieve.report.fraction
        return calendar_of(
            epochs=train.epochs, images=self._plan.train_images, batch_size=train.batch_size, sieved=sieved
        )
