"""One generator an event, seeded by (run seed, event number): a resumed run draws what it would have drawn."""

import hashlib

import torch


def event_generator(seed: int, event: int) -> torch.Generator:
    """The generator of one edit, on the CPU; `event` counts edits from 1."""
    number = int.from_bytes(hashlib.sha256(f"{seed}/{event}".encode()).digest()[:8], "little") >> 1
    return torch.Generator().manual_seed(number)
