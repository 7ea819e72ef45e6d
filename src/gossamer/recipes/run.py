"""A training run in memory: its parts, one step of it, and the loop from where it is to a later step.

Order of one step: batch (a function of seed, epoch and index) -> learning rate (a function of the step) -> backward -> where norms
are clipped, gradients of dropped weights are zeroed first -> optimizer, with the Sparsifier on its hooks.

The final model is the result; measurements on the test split along the way choose nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from gossamer.errors import GossamerError, RecipeError
from gossamer.recipes import building
from gossamer.recipes.accounting import Accounting
from gossamer.recipes.building import Built
from gossamer.recipes.checkpoint import Checkpoint
from gossamer.recipes.progress import Progress, Watcher
from gossamer.recipes.rates import staged_factor_at
from gossamer.recipes.resolved import to_yaml
from gossamer.recipes.schema import Training
from gossamer.recipes.validate import Plan
from gossamer.runtime.threads import check_threads
from gossamer.tasks import task
from gossamer.tasks.images import ImageData, Integers
from gossamer.training.methods.method import stages_of
from gossamer.training.sieve import SieveReport
from gossamer.training.stages import position_at

LOG_EVERY = 10
"""Optimizer steps between two lines of the metrics."""
TEST_BATCH = 250


class Run:
    """A recipe's run in memory: model, optimizer, sparsifier, position."""

    def __init__(
        self, plan: Plan, data: ImageData, *, built: Built | None = None, part: range | None = None
    ) -> None:
        """built: the parts, where they are not made from the recipe alone. part: the steps to take, where those are not all of them."""
        self.plan = plan
        self.data = data
        self.train: Training = plan.recipe.train
        self.device = torch.device(plan.recipe.device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise GossamerError("device: cuda is not available on this machine; write device=cpu")
        if plan.recipe.threads is not None:
            check_threads(plan.recipe.threads, error=RecipeError)
        # Set even where they are torch's own: only then does MKL keep to them, so that a resumed run sums in the same order.
        torch.set_num_threads(plan.recipe.threads or torch.get_num_threads())
        built = built or building.built(plan, self.device)
        self.model, self.optimizer, self.sparsifier = built.model, built.optimizer, built.sparsifier
        self.notes = built.notes
        self.stages = () if plan.method is None else stages_of(plan.method)
        self.part = part
        self.step = self.first_step = 0 if part is None else part.start
        self.loss_sum = 0.0
        self.seconds = 0.0
        self.accuracy: float | None = None
        self.removal: SieveReport | None = None
        self.books = Accounting(
            plan,
            data,
            self.model,
            self.optimizer,
            self.sparsifier,
            lambda indices: self._forward(indices, 0)[0],
        )
        self._measured: tuple[int, tuple[float, float]] | None = None
        self._order: tuple[int, Integers] | None = None

    @property
    def density(self) -> float:
        """Kept weights over all weights of linear and convolution layers."""
        return 1.0 if self.sparsifier is None else 1.0 - self.sparsifier.sparsity

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run; a sieve makes them fewer when it removes."""
        return self.books.calendar.num_steps

    @property
    def end(self) -> int:
        """The step to stop after."""
        return self.num_steps if self.part is None else self.part.stop

    def state(self) -> Checkpoint:
        """Everything that the rest of the run depends on."""
        return Checkpoint(
            recipe=to_yaml(self.plan.recipe),
            step=self.step,
            loss_sum=self.loss_sum,
            seconds=self.seconds,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            sparsifier=None if self.sparsifier is None else dict(self.sparsifier.state_dict()),
            accounting=self.books.state(),
            random=torch.get_rng_state(),
        )

    def restore(self, saved: Checkpoint) -> None:
        """Go on from there."""
        self.model.load_state_dict(saved.model)
        self.optimizer.load_state_dict(saved.optimizer)
        if self.sparsifier is not None:
            self.sparsifier.load_state_dict(saved.sparsifier or {})
        self.books.restore(saved.accounting)
        torch.set_rng_state(saved.random)
        self.step, self.loss_sum, self.seconds = saved.step, saved.loss_sum, saved.seconds

    def one_step(self) -> float:
        """One optimizer step; returns its loss. GossamerError where that is not finite: nothing that follows could mend it."""
        plan, train = self.plan, self.train
        epoch, position, length = self.books.calendar.place(self.step)
        if position == 0:
            self.loss_sum = 0.0
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self.books.order(epoch)
        indices = self._order[1][position * train.batch_size : (position + 1) * train.batch_size]
        rate = train.optimizer.lr * staged_factor_at(
            train.rate, self.stages, self.books.calendar.full_step(self.step), plan.num_steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss, logits, labels = self._forward(indices, epoch)
        value = loss.item()
        if not math.isfinite(value):
            raise GossamerError(
                f"step {self.step + 1}: expected a finite loss, got {value}: training has diverged; lower train.optimizer.lr, set "
                "train.clip_norm, or warm up longer (train.rate.warmup)"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        if train.clip_norm is not None:
            if self.sparsifier is not None:
                self.sparsifier.mask_gradients()
            nn.utils.clip_grad_norm_(self.model.parameters(), train.clip_norm)
        self.optimizer.step()
        self.books.after_step(indices, logits, labels)
        self.step += 1
        self.loss_sum += value
        if position + 1 == length:
            self.removal = self.books.end_epoch()
        return value

    def _forward(self, indices: Integers, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, logits and labels of training images as this epoch sees them."""
        images, labels = self.plan.task.training_batch(
            self.data, indices, self.train.augment, seed=self.plan.recipe.seed, epoch=epoch
        )
        labels = labels.to(self.device)
        with self._precision():
            logits = self.model(self._placed(images))
        loss = task.loss(logits.float(), labels, label_smoothing=self.train.label_smoothing)
        return loss, logits, labels

    def measure(self) -> tuple[float, float]:
        """Accuracy and mean loss on the test images, as the model is now."""
        if self._measured is None or self._measured[0] != self.step:
            self._measured = self.step, self._measure()
        return self._measured[1]

    def _measure(self) -> tuple[float, float]:
        self.model.eval()
        correct, loss_sum, count = 0, 0.0, self.plan.test_images
        with torch.inference_mode(), self._precision():
            for start in range(0, count, TEST_BATCH):
                images, labels = self.plan.task.test_batch(self.data, start, min(start + TEST_BATCH, count))
                logits = self.model(self._placed(images)).float().cpu()
                correct += task.num_correct(logits, labels)
                loss_sum += float(task.loss(logits, labels)) * len(labels)
        return correct / count, loss_sum / count

    def _placed(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        return images.to(memory_format=torch.channels_last) if self.train.channels_last else images

    def _precision(self) -> AbstractContextManager[object]:
        if self.train.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


class Journal(Protocol):
    """Where a run leaves what it wants to keep."""

    def append(self, row: Mapping[str, object]) -> None:
        """One line of the metrics."""
        ...

    def save(self, state: Checkpoint) -> None:
        """The state to go on from."""
        ...


def advance(run: Run, journal: Journal, watcher: Watcher, stop: Callable[[], bool]) -> None:
    """Trains to the run's end. `stop` is asked after every step; when it says yes, the state is saved, and that is all."""
    begun, first_step, earlier = time.monotonic(), run.step, run.seconds
    while run.step < run.end:
        loss = run.one_step()
        run.seconds = earlier + time.monotonic() - begun
        epoch, position, _ = run.books.calendar.place(run.step)
        pace = (time.monotonic() - begun) / (run.step - first_step)
        progress = Progress(
            step=run.step,
            num_steps=run.num_steps,
            epoch=epoch,
            epochs=run.train.epochs,
            loss=loss,
            density=run.density,
            stage=position_at(run.stages, run.step),
            accuracy=run.accuracy,
            seconds_left=pace * (run.num_steps - run.step),
        )
        watcher.step(progress)
        row = _row(run, progress)
        if position == 0:
            length = run.books.calendar.place(run.step - 1)[2]
            row["loss"] = loss = run.loss_sum / min(length, run.step - run.first_step)
            if epoch % run.train.eval_every == 0 or epoch == run.train.epochs:
                run.accuracy, row["test_loss"] = run.measure()
                row["test_accuracy"] = run.accuracy
            run.seconds = earlier + time.monotonic() - begun
            journal.append(row)
            journal.save(run.state())
            if run.removal is not None:
                watcher.say(f"sieve: {run.removal}")
                run.removal = None
            watcher.epoch(replace(progress, loss=loss, accuracy=run.accuracy))
        elif run.step % LOG_EVERY == 0:
            journal.append(row)
        if stop() and run.step < run.end:
            journal.save(run.state())
            return


def _row(run: Run, progress: Progress) -> dict[str, object]:
    stage = {} if progress.stage is None else {"stage": progress.stage.index}
    return {
        "step": progress.step,
        "epoch": run.books.calendar.full_step(progress.step) / run.plan.steps_per_epoch,
        "loss": progress.loss,
        "density": progress.density,
        "learning_rate": run.optimizer.param_groups[0]["lr"],
        "seconds": round(run.seconds, 3),
        **run.books.row(),
        **stage,
    }
