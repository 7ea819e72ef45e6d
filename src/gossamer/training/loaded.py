"""Weights as they came, kept until the next step.

A checkpoint is loaded piece by piece, in any order. When its weights come before its masks, the masks of the moment (a random start, or
those of the run that is rolled back) would destroy entries that the masks still to come keep. So what has come is remembered until the
next optimizer step, and masked anew when masks are loaded.
"""

from collections.abc import Iterable

from torch import Tensor

from gossamer.training.stores import Stores


class LoadedWeights:
    """Copies of weights from before they were masked, by name; empty after every step."""

    def __init__(self, owner: Stores) -> None:
        self._owner = owner
        self._values: dict[str, Tensor] = {}

    def note(self, names: Iterable[str]) -> None:
        """Remembers these weights as they are now: call it before masking them."""
        for name in names:
            snapshot = self._owner.snapshot(name)
            if snapshot is not None:
                self._values[name] = snapshot

    def give_back(self) -> None:
        """Undoes the masking of remembered weights, except of those that somebody has written since."""
        self._owner.restore(self._values)

    def forget(self) -> None:
        self._values.clear()
