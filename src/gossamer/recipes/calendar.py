"""Epochs and steps: which epoch a step belongs to, how many steps there are, how far along the run is.

All epochs are equally long, except where a sieve shortens those after its removal: they hold the kept share of the images, in whole
batches.
How many examples a sieve removes is known only then, so the end of the run is, too. Until then the calendar is that without a sieve.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """Steps are counted from 0. The epochs from number `shorter_from` on have `shorter_steps` steps.

    >>> calendar = Calendar(epochs=4, steps_per_epoch=10, shorter_from=2, shorter_steps=5)
    >>> calendar.num_steps, [calendar.place(step) for step in (0, 19, 20, 29)]
    (30, [(0, 0, 10), (1, 9, 10), (2, 0, 5), (3, 4, 5)])
    >>> calendar.place(30), [calendar.full_step(step) for step in (0, 19, 20, 29, 30)]
    ((4, 0, 5), [0, 19, 20.0, 38.0, 40.0])
    """

    epochs: int
    steps_per_epoch: int
    shorter_from: int | None = None
    shorter_steps: int = 0

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run, as far as it is known."""
        if self.shorter_from is None:
            return self.epochs * self.steps_per_epoch
        return (
            self.shorter_from * self.steps_per_epoch + (self.epochs - self.shorter_from) * self.shorter_steps
        )

    def place(self, step: int) -> tuple[int, int, int]:
        """(epoch, place in the epoch, steps of the epoch) of the update number `step`."""
        begin = self._begin
        if begin is None or step < begin:
            return *divmod(step, self.steps_per_epoch), self.steps_per_epoch
        epoch, position = divmod(step - begin, self.shorter_steps)
        return epoch + (self.shorter_from or 0), position, self.shorter_steps

    def full_step(self, step: int) -> float:
        """The same place in a run whose epochs are all full: learning rates depend on it, every epoch being an equal part of the run."""
        begin = self._begin
        if begin is None or step < begin:
            return step
        return begin + (step - begin) * self.steps_per_epoch / self.shorter_steps

    @property
    def _begin(self) -> int | None:
        """The first step of the shorter epochs."""
        return None if self.shorter_from is None else self.shorter_from * self.steps_per_epoch


def calendar_of(
    *, epochs: int, images: int, batch_size: int, sieved: tuple[int, float] | None = None
) -> Calendar:
    """The calendar of a run with so many `images` an epoch; sieved: (epochs with all of them, share that is kept afterwards).

    >>> calendar_of(epochs=3, images=1000, batch_size=128, sieved=(1, 0.75))
    Calendar(epochs=3, steps_per_epoch=7, shorter_from=1, shorter_steps=5)
    """
    full = images // batch_size
    if sieved is None:
        return Calendar(epochs=epochs, steps_per_epoch=full)
    at_epoch, kept = sieved
    shorter = max(1, round(images * kept) // batch_size)
    return Calendar(epochs=epochs, steps_per_epoch=full, shorter_from=at_epoch, shorter_steps=shorter)
