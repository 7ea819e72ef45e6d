"""The mask owner: the only code that writes a masked weight, its gradient or its optimizer state.

A mask is bool, True = kept, and has the shape of its weight. What is dropped is exactly +0.0 afterwards, whatever stood there: values
are filled, not multiplied, because 0 * inf and 0 * nan are nan, and because a negative weight times zero is -0.0.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.optim import Optimizer

from gossamer.errors import EngineError, PatternError
from gossamer.sparsity.patterns import Pattern
from gossamer.sparsity.view import as_matrix
from gossamer.training.layers import Slot
from gossamer.training.optimizers import state_tensors


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
    def mask_copies(self, copies: Iterable[Callable[[str], Tensor]]) -> None:
        """Masks averaged copies of the weights, each a function from weight name to the tensor of now."""
        for tensor_of in copies:
            for name, dropped in self._current():
                tensor = tensor_of(name)
                tensor.masked_fill_(dropped.to(tensor.device), 0.0)

    @torch.no_grad()
    def start_entries(self, name: str, where: Tensor, values: Tensor, optimizer: Optimizer | None) -> None:
        """Gives the entries `where` (bool, weight shape) of a weight the `values` there, and zero optimizer state: a fresh start."""
        weight = self.slots[name].weight
        weight.copy_(torch.where(where, values, weight))
        for tensor in state_tensors(optimizer, weight) if optimizer is not None else ():
            tensor.masked_fill_(where, 0)

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
    digest = hashlib.sha256()
    for name in sorted(masks):
        digest.update(name.encode())
        digest.update(masks[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


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
