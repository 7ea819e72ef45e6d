"""Growth by the gradient of absent weights without a dense gradient: blocks of rows, of which only the best candidates are kept.

A layer that grows by gradient (RigL) records the operands x and dy of its backward passes before such an edit. The gradient

    G[r, c] = sum over n of dy[n, r] x[n, c]

is then made for a block of rows at a time, averaged over ranks, scored, and merged into the best candidates so far. Memory: the operands of
one layer's step, one block of rows, and two numbers a candidate. Time: once the product that a dense layer computes at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from gossamer.errors import EngineError
from gossamer.sparsity.criteria import View
from gossamer.sparsity.growth import Growth
from gossamer.sparsity.patterns import Block, Pattern, Unstructured
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.ranks import world_size

BLOCK_ENTRIES = 1 << 20  # entries of the dense gradient at a time: 4 MiB in float32

Operands = Sequence[tuple[Tensor, Tensor]]  # of each backward pass: input, and gradient of the output


def check_pattern(pattern: Pattern) -> None:
    """EngineError for patterns whose units depend on one another: the best of parts are not the best of the whole."""
    if not isinstance(pattern, (Unstructured, Block)):
        raise EngineError(
            f"dense_gradients='blockwise' merges the best units of blocks of rows: expected the pattern unstructured or block:RxC, got "
            f"{pattern}; train masked, or grow at random"
        )


def candidates(layer: CompactLayer, grow_by: Growth, pattern: Pattern, wanted: int) -> tuple[Tensor, Tensor]:
    """Ascending positions of the `wanted` absent entries (or all, if fewer) that `grow_by` ranks highest, and their scores."""
    shape, kept = layer.where.matrix, layer.positions().sort().values
    positions = torch.empty(0, dtype=torch.int64)
    scores = torch.empty(0, dtype=layer.values.dtype)
    for first, gradient in gradient_blocks(layer):
        if world_size() > 1:
            dist.all_reduce(gradient)
            gradient /= world_size()
        begin, end = first * shape[1], (first + len(gradient)) * shape[1]
        low, high = torch.searchsorted(kept, torch.tensor([begin, end])).tolist()
        absent = torch.ones(gradient.shape, dtype=torch.bool)
        absent.view(-1)[kept[low:high] - begin] = False
        view = View(weight=torch.zeros_like(gradient), mask=~absent, gradient=gradient)
        found = grow_by(view, wanted).masked_fill(~absent, float("-inf"))
        best = pattern.mask(found, min(wanted, int(absent.sum()))).flatten().nonzero().flatten()
        positions = torch.cat([positions, best + begin])
        scores = torch.cat([scores, found.flatten()[best]])
        if len(positions) > wanted:
            chosen = pattern.select(positions, scores, shape, wanted)
            positions, scores = positions[chosen], scores[chosen]
    return positions, scores


def gradient_blocks(layer: CompactLayer) -> Iterator[tuple[int, Tensor]]:
    """(first row, gradient [rows, C]) of the recorded backward passes; zeros where none reached the layer."""
    (rows, columns), unit = layer.where.matrix, layer.where.block[0]
    step = max(1, BLOCK_ENTRIES // (columns * unit)) * unit
    recorded = layer.recorded or ()
    for first in range(0, rows, step):
        last = min(first + step, rows)
        gradient = torch.zeros(last - first, columns, dtype=layer.values.dtype)
        for x, dy in recorded:
            gradient += layer.gradient_rows(x, dy, first, last)
        yield first, gradient
