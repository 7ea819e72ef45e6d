"""What a layer costs at a count of kept weights: parameters, multiply-accumulates, bytes.

A weight of a linear or convolution layer is used once at every output position, so kept weights times positions are the MACs of one
example, whatever the groups, stride or dilation. Bytes are an estimate for planning, values plus the index of the pattern's compact format;
the packed file reports exact ones. Milliseconds are not computed here: they are measured and come in as a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from gossamer.errors import FormatError
from gossamer.formats import FORMATS, for_pattern
from gossamer.sparsity.patterns import Pattern
from gossamer.sparsity.view import matrix_shape


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One linear or convolution layer as an allocation sees it.

    >>> stem = LayerShape(weight=(16, 3, 3, 3), positions=32 * 32, dense="first layer")
    >>> stem.matrix, stem.numel, macs(stem, stem.numel)
    ((16, 27), 432, 442368)
    """

    weight: tuple[int, ...]  # shape of the weight: [O, I] or [O, I, k1, …]
    positions: int = (
        1  # output positions of one example: 1 for a linear layer, height x width of a convolution's output
    )
    dense: str | None = None  # why this layer is protected and stays dense; None: it may be pruned

    @cached_property
    def matrix(self) -> tuple[int, int]:
        """(rows, columns) of the weight's matrix."""
        return matrix_shape(self.weight)

    @cached_property
    def numel(self) -> int:
        return math.prod(self.weight)


def parameters(layer: LayerShape, num_kept: int) -> int:
    """Stored values: the kept weights (biases are not counted, as in the definition of sparsity)."""
    return num_kept


def macs(layer: LayerShape, num_kept: int) -> int:
    """Multiply-accumulates of one example."""
    return num_kept * layer.positions


def bytes_packed(layer: LayerShape, num_kept: int, pattern: Pattern, *, value_bytes: int = 2) -> float:
    """Bytes on disk with fp16 (2) or fp32 (4) values: those of the format that stores the pattern, or dense where that is smaller.

    Exact but for long gaps, which are those of a random mask; a pattern without a format of its own is stored as unstructured.

    >>> from gossamer.sparsity.patterns import parse_pattern
    >>> layer = LayerShape(weight=(1024, 1024))
    >>> [round(bytes_packed(layer, 8192, parse_pattern(text))) for text in ("unstructured", "gs:8,8", "gs:8,1", "block:4x1", "window:8")]
    [25858, 24576, 26800, 18753, 20480]
    """
    name, parameters = for_pattern(str(pattern))
    try:
        FORMATS[name].check(layer.matrix, parameters)
    except FormatError:
        name, parameters = for_pattern("unstructured")
    sparse = num_kept * value_bytes + FORMATS[name].index_bytes(layer.matrix, num_kept, parameters)
    return min(sparse, float(layer.numel * value_bytes))
