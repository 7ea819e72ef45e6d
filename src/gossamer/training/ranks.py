"""One decision for all ranks: rank 0 computes the new masks, everybody receives them, and a hash is compared.

Scores differ in the last bits between devices, which is enough to flip a near tie; equal seeds do not help there. Without
`torch.distributed`, or with one rank, all of this is nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

from gossamer.errors import EngineError

Masks = dict[str, Tensor]


_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this rank decides for itself and compares with nobody: it trains a model of its own (P-GaP)."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def world_size() -> int:
    together = dist.is_available() and dist.is_initialized() and not _alone.get()
    return dist.get_world_size() if together else 1


def decide(compute: Callable[[], Masks], like: Mapping[str, Tensor]) -> Masks:
    """`compute()` on rank 0, its masks on every rank. `like` names the tensors that may change, with their shapes and devices.

    An error on rank 0 is raised on every rank, so that none waits for ever.
    """
    if world_size() == 1:
        return compute()
    names = sorted(like)
    device = like[names[0]].device
    failure: Exception | None = None
    masks: Masks = {}
    if dist.get_rank() == 0:
        try:
            masks = compute()
        except Exception as error:  # raised again below, after the others have been told
            failure = error
    flags = torch.tensor(
        [failure is not None, *(name in masks for name in names)], dtype=torch.uint8, device=device
    )
    dist.broadcast(flags, src=0)
    if failure is not None:
        raise failure
    if bool(flags[0]):
        raise EngineError("rank 0 could not decide the masks; its own error says why")
    for name, changed in zip(names, flags[1:].tolist(), strict=True):
        if changed:
            tensor = masks[name] if name in masks else torch.empty_like(like[name], requires_grad=False)
            sent = tensor.to(torch.uint8 if tensor.dtype == torch.bool else tensor.dtype).contiguous()
            dist.broadcast(sent, src=0)
            masks[name] = sent.to(tensor.dtype)
    return masks


def check_equal(digest: str, device: torch.device) -> None:
    """EngineError if the mask digest differs between ranks."""
    if world_size() == 1:
        return
    number = int(digest[:15], 16)  # 60 bits: fits a signed 64-bit integer
    extremes = torch.tensor([number, -number], dtype=torch.int64, device=device)
    dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
    if extremes.tolist() != [number, -number]:
        raise EngineError(
            "the masks of the ranks differ: expected equal masks everywhere; make the Sparsifier with the same arguments on every "
            "rank, and load the same checkpoint on every rank"
        )
