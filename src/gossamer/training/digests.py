"""One hash of all masks: equal for equal masks, whether they are stored as masks or as places, on any device and rank."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def digest_of_positions(weights: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of (name, ascending positions r * C + c of the kept entries) of each weight, in the order given: sort by name.

    >>> digest_of_positions([("a", torch.tensor([0, 2]))]) == digest_of_positions([("a", torch.tensor([0, 3]))])
    False
    """
    digest = hashlib.sha256()
    for name, positions in weights:
        digest.update(f"{name}/{len(positions)}/".encode())
        digest.update(positions.to("cpu", torch.int64).contiguous().numpy().astype("<i8", copy=False).data)
    return digest.hexdigest()
