"""Patterns: which masks are legal. One file a pattern; `pattern.py` holds the contract that all share.

>>> [str(parse_pattern(text)) for text in ("unstructured", "2:4", "block:4x1", "gs:8,1", "window:8", "taps:4")]
['unstructured', '2:4', 'block:4x1', 'gs:8,1', 'window:8', 'taps:4']
>>> parse_pattern("gs:8,1").counts((16, 9))
Traceback (most recent call last):
gossamer.errors.PatternError: gs:8,1 needs columns divisible by 8: expected a multiple of 8, got 9 columns (shape 16x9); \
leave this layer dense or choose another pattern
"""

from __future__ import annotations

import re
from functools import lru_cache

from gossamer.errors import PatternError
from gossamer.sparsity.patterns.block import Block
from gossamer.sparsity.patterns.gather_scatter import GatherScatter
from gossamer.sparsity.patterns.n_of_m import NOfM
from gossamer.sparsity.patterns.pattern import Pattern, Shape, check_positions, nearest_count
from gossamer.sparsity.patterns.taps import Taps
from gossamer.sparsity.patterns.unstructured import Unstructured
from gossamer.sparsity.patterns.window import Window

PATTERNS: dict[str, type[Pattern]] = {
    "unstructured": Unstructured,
    "N:M": NOfM,
    "block": Block,
    "gs": GatherScatter,
    "window": Window,
    "taps": Taps,
}


def parse_pattern(text: str) -> Pattern:
    """The pattern of a pattern string; PatternError lists the families when it is unknown.

    >>> parse_pattern("gs:8,8")
    GatherScatter(banks=8, per_row=8, projection='exact')
    >>> parse_pattern("diagonal:3")
    Traceback (most recent call last):
    gossamer.errors.PatternError: expected a pattern string of the family unstructured, N:M, block, gs, window, taps, got 'diagonal:3'
    """
    if not isinstance(text, str):
        raise PatternError(f"expected a pattern string such as 'unstructured' or '2:4', got {text!r}")
    return _parsed(text)


@lru_cache(maxsize=256)  # methods ask at every edit
def _parsed(text: str) -> Pattern:
    if not text.isascii() or re.search(r"\d{10}", text):
        raise PatternError(
            f"expected a pattern string of ASCII letters and numbers below 10^9, got {text[:40]!r}"
        )
    if re.fullmatch(r"\d+:\d+", text):
        return NOfM.parse(text)
    family, _, arguments = text.partition(":")
    if family not in PATTERNS or family == "N:M":
        raise PatternError(f"expected a pattern string of the family {', '.join(PATTERNS)}, got {text!r}")
    return PATTERNS[family].parse(arguments)


__all__ = [
    "PATTERNS",
    "Block",
    "GatherScatter",
    "NOfM",
    "Pattern",
    "Shape",
    "Taps",
    "Unstructured",
    "Window",
    "check_positions",
    "nearest_count",
    "parse_pattern",
]
