"""What the engine asks of the weights that it edits, however they are stored.

Two kinds: `masks.MaskOwner` holds dense weights and a mask each; `compact.stores.CompactStores` holds kept values and their places. The
editor decides on rank 0 (`decide`, a pure function of the state), sends tensors of fixed shapes (`outcome_like`), and carries the outcome
out on every rank (`apply`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.sparsity.criteria import Criterion
from gossamer.sparsity.patterns import Pattern
from gossamer.training.adam_counts import AdamCounts
from gossamer.training.copies import Copy
from gossamer.training.decisions import Outcome
from gossamer.training.edits import CountState, Edit
from gossamer.training.layers import Slot
from gossamer.training.reports import LayerChange

Gradients = Callable[[str, Tensor], Tensor]  # (weight name, parameter) -> the gradient taken for this edit


class Stores(Protocol):
    """The weights of one Sparsifier. `slots` give the parameters, which keep their shape for ever."""

    slots: dict[str, Slot]

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """Masks by weight name, bool in the shape of the dense weight; read-only."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held beside the model."""
        ...

    def num_kept(self, name: str) -> int: ...

    def mask_gradients(self) -> None:
        """Zeroes gradients of what is not kept."""
        ...

    def mask_weights(self) -> None: ...

    def mask_state(self, optimizer: Optimizer) -> None: ...

    def mask_copies(self, copies: Iterable[Copy]) -> None: ...

    def count_stray(self) -> int:
        """Values that are not zero although they are not kept: somebody else wrote them."""
        ...

    def digest(self) -> str:
        """The hash of all masks."""
        ...

    # Checkpoints.

    def saved(self) -> Mapping[str, Tensor]:
        """What a checkpoint holds of every weight."""
        ...

    def load(self, name: str, saved: Tensor) -> None:
        """Takes over what `saved` gave, on tensors of the same shape."""
        ...

    def digest_of_saved(self, saved: Mapping[str, Tensor]) -> str: ...

    def snapshot(self, name: str) -> Tensor | None:
        """A copy of a weight that masking could destroy; None where nothing can be lost."""
        ...

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Undoes the masking of snapshots, except of weights that somebody has written since."""
        ...

    # Edits.

    def has_new_gradient(self, name: str, gradient: Tensor) -> bool:
        """True if a gradient that was taken has been written by a later backward pass."""
        ...

    def make_room(self) -> None:
        """Before a step that ends with an edit: frees what can be made again."""
        ...

    def watch(self, names: Collection[str]) -> None:
        """Before the backward passes of a step: an edit after it will ask for gradients of absent entries of these weights."""
        ...

    def prepare(self, edit: Edit, patterns: Mapping[str, Pattern], state: CountState) -> None:
        """On every rank before rank 0 decides: what needs all ranks to be computed."""
        ...

    def decide(
        self,
        edit: Edit,
        patterns: Mapping[str, Pattern],
        state: CountState,
        generator: torch.Generator,
        gradients: Gradients | None,
    ) -> Outcome:
        """The outcome of an edit for the weights in `state.scope`; changes nothing."""
        ...

    def outcome_like(self) -> Outcome:
        """Tensors of the names, shapes, types and devices that an outcome may have."""
        ...

    def apply(
        self,
        name: str,
        outcome: Mapping[str, Tensor],
        edit: Edit,
        optimizer: Optimizer | None,
        adam: AdamCounts | None,
        copies: Iterable[Copy],
    ) -> LayerChange:
        """Carries out an outcome for one weight: values, state of the optimizer, births of Adam, averaged copies."""
        ...

    def ranking_scores(
        self, criterion: Criterion, names: Sequence[str], gradients: Gradients | None
    ) -> dict[str, Tensor]:
        """What a global ranking compares."""
        ...
