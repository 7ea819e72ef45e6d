"""An edit of places, and the move of tensors to the new order, range by range: 64-bit numbers exist for a piece of the entries at a time.

Entries stand in the order of the structure before and after, so those that stay never overtake one another; grown ones are empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.sparsity.patterns.drawing import holds, pieces
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
    """How the tensors [capacity] of a weight are rewritten, in place: what stays keeps its order."""

    stays: Tensor  # bool [old number of entries]
    fresh: Tensor  # bool [capacity]: of the new entries, those that start afresh
    count: int  # new number of entries

    @classmethod
    def between(cls, where: Places, old: Tensor, new: Tensor, fresh: Tensor | None = None) -> Move:
        """From places to places; `fresh` positions (ascending) start afresh even if they stood there before."""
        stays = torch.empty(where.num_kept(old), dtype=torch.bool)
        starts, filled, seen = torch.zeros(where.capacity, dtype=torch.bool), 0, 0
        for lines in where.ranges(new):
            before = where.keys(where.positions_in(old, lines))
            after = where.keys(where.positions_in(new, lines))
            starting = ~holds(before, after)
            if fresh is not None:
                starting |= torch.isin(after, where.keys(_inside(where, lines, fresh)))
            starts[filled : filled + len(after)] = starting
            stays[seen : seen + len(before)] = holds(after[~starting], before)
            filled, seen = filled + len(after), seen + len(before)
        return cls(stays=stays, fresh=starts, count=filled)

    def apply(self, tensor: Tensor, empty: float = 0) -> None:
        """Rewrites one tensor; `empty` is what grown entries, and the room behind the last one, hold.

        What stays moves to the front, and then from the last to the first to where it belongs: no entry is written over before it was read.
        """
        held = 0
        for piece, stays in zip(
            pieces(tensor[: len(self.stays)], PIECE), pieces(self.stays, PIECE), strict=True
        ):
            part = piece[stays]
            tensor[held : held + len(part)] = part
            held += len(part)
        for last in range(self.count, 0, -PIECE):
            first = max(last - PIECE, 0)
            fresh = self.fresh[first:last]
            part = torch.full((last - first,), empty, dtype=tensor.dtype)
            moving = len(part) - int(fresh.count_nonzero())
            part[~fresh] = tensor[held - moving : held]
            tensor[first:last] = part
            held -= moving
        tensor[self.count :] = empty


def _inside(where: Places, lines: range, positions: Tensor) -> Tensor:
    """Those of ascending positions that stand in these rows of blocks."""
    low, high = torch.searchsorted(positions, torch.tensor(where.bounds(lines))).tolist()
    return positions[low:high]
