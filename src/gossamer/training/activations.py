"""Bytes that the forward pass keeps for the backward pass: every tensor that autograd saves, once.

Counted are the memories behind saved tensors, the batch included; parameters and buffers are not (they are counted as weights), nor what
an operation allocates and frees within itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def activation_bytes(model: nn.Module, loss: Callable[[], Tensor]) -> int:
    """Bytes kept between `loss()` (the forward pass of one batch, with gradients) and its backward pass, which is not run.

    Buffers of the model and random state are as before afterwards: norms have not seen the batch.

    >>> model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    >>> activation_bytes(model, lambda: model(torch.ones(3, 6)).sum()) // 4  # the batch 3 x 6, and after the ReLU 3 x 5
    33
    """
    own = {_place(tensor) for tensor in (*model.parameters(), *model.buffers())}
    saved: dict[tuple[str, int], int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _place(tensor) not in own:
            saved[_place(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with _unchanged(model), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kept = loss()  # alive until the sum is made, so that no memory is used twice
        total = sum(saved.values())
        del kept
    return total


def _place(tensor: Tensor) -> tuple[str, int]:
    return str(tensor.device), tensor.untyped_storage().data_ptr()


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        with torch.random.fork_rng():
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
