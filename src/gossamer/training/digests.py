"""One hash of all masks: equal for equal masks, whether they are stored as masks or as places, on any device and rank."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def digest_of_positions(weights: Iterable[tuple[str, int, Iterable[Tensor]]]) -> str:
    """SHA-256 of (name, number of kept entries, their ascending positions r * C + c in pieces) of each weight; sort by name.

    >>> digest_of_positions([("a", 2, [torch.tensor([0, 3])])]) == digest_of_positions([("a", 2, [torch.tensor([0]), torch.tensor([3])])])
    True
    """
    digest = hashlib.sha256()
    for name, count, pieces in weights:
        digest.update(f"{name}/{count}/".encode())
        for positions in pieces:
            digest.update(
                positions.to("cpu", torch.int64).contiguous().numpy().astype("<i8", copy=False).data
            )
    return digest.hexdigest()
