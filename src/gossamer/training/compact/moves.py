"""An edit of places, and the move of tensors to the new order, range by range: 64-bit numbers exist for a piece of the entries at a time.

new[i] = old[source[i]] where entry i was there before, empty where it is grown, and behind the last one
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.training.compact.storage import PIECE, Places


def edited(where: Places, data: Tensor, stays: Tensor, grown: Tensor) -> tuple[Tensor, int]:
    """New places: of the entries in `data`, by ascending position, those that stay, and `grown` (ascending); and how many of these
    stood there before."""
    new = torch.zeros_like(data)
    filled = seen = regrown = 0
    for lines in where.ranges(data):
        held = where.positions_in(data, lines).sort().values
        stay = stays[seen : seen + len(held)]
        entering = _inside(where, lines, grown)
        regrown += int(torch.isin(entering, held[~stay]).sum())
        filled = where.fill(new, lines, filled, torch.cat([held[stay], entering]))
        seen += len(held)
    return new, regrown


@dataclass(frozen=True, kw_only=True)
class Move:
    """How the tensors [capacity] of a weight are rewritten."""

    source: Tensor  # int32 or int64 [new number of entries]: where each one stood; -1: it starts afresh
    fresh: Tensor  # bool [capacity]: grown

    @classmethod
    def between(cls, where: Places, old: Tensor, new: Tensor, fresh: Tensor | None = None) -> Move:
        """From places to places; `fresh` positions (ascending) start afresh even if they stood there before."""
        small = where.capacity < 1 << 31
        source = torch.empty(where.num_kept(new), dtype=torch.int32 if small else torch.int64)
        grown, filled, seen = torch.zeros(where.capacity, dtype=torch.bool), 0, 0
        for lines in where.ranges(new):
            before = where.keys(where.positions_in(old, lines))
            after = where.keys(where.positions_in(new, lines))
            there = torch.zeros(len(after), dtype=torch.bool)
            found = torch.searchsorted(before, after).clamp_(max=max(len(before) - 1, 0))
            if len(before):
                there = before[found] == after
            if fresh is not None:
                starting = torch.isin(after, where.keys(_inside(where, lines, fresh)))
                grown[filled : filled + len(after)] = starting
                there &= ~starting
            source[filled : filled + len(after)] = found.add_(seen).masked_fill_(~there, -1)
            filled, seen = filled + len(after), seen + len(before)
        return cls(source=source, fresh=grown)

    def apply(self, tensor: Tensor, empty: float = 0) -> None:
        """Rewrites one tensor in place; `empty` is what grown entries, and the room behind the last one, hold."""
        old = tensor.clone()
        for first in range(0, len(self.source), PIECE):
            source = self.source[first : first + PIECE].long()
            part = old[source.clamp(min=0)] if len(old) else old
            tensor[first : first + PIECE][: len(source)] = part.masked_fill_(source < 0, empty)
        tensor[len(self.source) :] = empty


def _inside(where: Places, lines: range, positions: Tensor) -> Tensor:
    """Those of ascending positions that stand in these rows of blocks."""
    low, high = torch.searchsorted(positions, torch.tensor(where.bounds(lines))).tolist()
    return positions[low:high]
