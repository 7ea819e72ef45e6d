"""Freed memory back to the system, before an edit asks for more.

What an allocator has freed it keeps, in pieces of the sizes that were used: a training step leaves it holes of the sizes of
activations, and lists of kept entries fit into none of them.
"""

from __future__ import annotations

import ctypes
import sys


def trim() -> None:
    """Gives freed pages back, where the C library can (glibc)."""
    if sys.platform == "linux":
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if give_back is not None:
            give_back(0)
