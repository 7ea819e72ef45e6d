"""Freed memory back to the system, before an edit asks for more.

What an allocator has freed it keeps, in pieces of the sizes that were used: a training step leaves it holes of the sizes of
activations, and lists of kept entries fit into none of them.
"""

from __future__ import annotations

import ctypes
import sys

_LARGE = 1 << 18  # entries of a weight whose edit is worth the call


def trim(num_entries: int) -> None:
    """Gives freed pages back before lists of so many entries are made, if these are large and the C library can (glibc)."""
    if num_entries >= _LARGE and sys.platform == "linux":
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if give_back is not None:
            give_back(0)
