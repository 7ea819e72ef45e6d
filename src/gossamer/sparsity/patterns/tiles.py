"""The two selections that patterns share: best entries, and best bundles of tiles; both exact, stable, on any device.

Many patterns are *tiled*: the matrix is cut into U tiles of L lanes and D places, and a unit (a bundle) takes one place in every lane of
one tile. Sort each lane; the t-th bundle of a tile is the t-th best of all its lanes, its gain the sum over the lanes. Gains fall with t,
so the K best of all U * D gains are the best K bundles (a greedy over separable concave functions). Blocks are tiles with D = 1.

Order is lexicographic in (level, value): an entry of `keep` lies on a level above everything, +inf and -inf one above and one below the
finite scores. Sums of levels are integers, so `keep` never drowns a score as a large float would.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.sparsity.patterns.drawing import pieces

_PIECE = 1 << 16  # scores at a time
_HALF = 1 << 15
KEEP_LEVEL = 1 << 31  # above any sum of infinities in a matrix of less than 2^31 entries


def top_entries(scores: Tensor, num_kept: int, keep: Tensor | None) -> Tensor:
    """bool [N]: the `num_kept` highest of scores [N], containing `keep`, lower index first among equals.

    A selection, not a sort: one threshold, then as many of the entries equal to it as there is room.

    >>> top_entries(torch.tensor([1.0, 2.0, 1.0, 1.0]), 2, None).tolist()
    [True, True, False, False]
    """
    if keep is not None:
        mask = keep.clone()
        mask[~keep] = top_entries(scores[~keep], num_kept - int(keep.sum()), None)
        return mask
    assert 0 <= num_kept <= scores.numel(), "the caller checks the count"
    if num_kept == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if scores.dtype not in (torch.float32, torch.float64):
        scores = scores.float()
    threshold = _kth(scores, scores.numel() - num_kept)
    chosen = scores > threshold
    room = num_kept - int(chosen.count_nonzero())  # `sum` of bools makes 64-bit numbers of them first
    size = _PIECE if scores.device.type == "cpu" else scores.numel()
    for piece, here in zip(pieces(scores, size), pieces(chosen, size), strict=True):
        ties = (piece == threshold).nonzero().flatten()[:room]
        here[ties] = True
        room -= ties.numel()
        if not room:
            break
    return chosen


def _kth(scores: Tensor, place: int) -> Tensor:
    """The value at this place of scores [N] in ascending order, from 0."""
    if scores.device.type != "cpu":
        return torch.kthvalue(scores, place + 1).values
    if scores.numel() > _PIECE:
        return _kth_by_digits(scores.detach(), place)
    ordered = scores.detach().clone()
    ordered.numpy().partition(place)
    return ordered[place]


def _kth_by_digits(scores: Tensor, place: int) -> Tensor:
    """The same without a copy of the scores, 16 bits at a time from the highest: how many of those that begin like the value wanted have
    each next digit. (torch's kthvalue takes 16 bytes a score beside them, a partition in place 4 and the copy.)"""
    width = 8 * scores.element_size()
    kind = torch.int32 if width == 32 else torch.int64
    known = 0  # the digits so far
    for shift in range(width - 16, -1, -16):
        found = torch.zeros(1 << 16, dtype=torch.int64)
        for piece in pieces(scores.view(kind)):
            keys = _ascending(piece) >> shift
            if shift < width - 16:
                keys = keys[keys >> 16 == known]
            found += torch.bincount(
                keys - (known << 16) if shift < width - 16 else keys + _HALF, minlength=1 << 16
            )
        at = found.cumsum(0)
        digit = int(torch.searchsorted(at, place, right=True))
        place -= int(at[digit] - found[digit])
        known = (known << 16) + digit if shift < width - 16 else digit - _HALF
    return _ascending(torch.tensor([known], dtype=kind)).view(scores.dtype)[0]


def _ascending(bits: Tensor) -> Tensor:
    """Floats as whole numbers that are ordered as they are; its own inverse."""
    return bits ^ ((bits >> (8 * bits.element_size() - 1)) & torch.iinfo(bits.dtype).max)


def top_places(groups: Tensor, per_group: int, keep: Tensor | None) -> Tensor:
    """bool [G, M]: the `per_group` best of every row of `groups` [G, M]; entries of `keep` (same shape) come first."""
    value, level = levelled(groups, keep)
    places = stable_descending(value, level)[:, :per_group]
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(1, places, True)


def stable_order(scores: Tensor, keep: Tensor | None) -> Tensor:
    """Indices along the last dimension of scores from best to worst, entries of `keep` first, lower index first among equals."""
    return stable_descending(*levelled(scores, keep))


def top_bundles(tiles: Tensor, num_bundles: int, keep: Tensor | None) -> Tensor:
    """bool [U, L, D]: the best `num_bundles` bundles of score tiles [U, L, D]; `keep` (same shape) comes first.

    Contains `keep` whenever some choice of that many bundles does; the caller checks.
    """
    places, level, gain = _ranked(tiles, keep)
    best = stable_descending(gain.flatten(), level.flatten())[:num_bundles]
    chosen = torch.zeros(gain.numel(), dtype=torch.bool, device=tiles.device)
    chosen[best] = True
    depth = chosen.reshape(gain.shape).sum(
        dim=1
    )  # [U]: gains fall with t, so a tile's chosen bundles are its first ones
    taken = torch.arange(tiles.shape[2], device=tiles.device) < depth[:, None, None]
    mask = torch.zeros_like(tiles, dtype=torch.bool)
    return mask.scatter_(2, places, taken.expand(tiles.shape))


def bundle_gains(tiles: Tensor) -> Tensor:
    """float64 [U * D]: the gains of all bundles of score tiles [U, L, D], non-increasing."""
    _, level, gain = _ranked(tiles, None)
    signed_infinity = torch.where(
        level == 0, gain, torch.copysign(torch.full_like(gain, torch.inf), level.double())
    )
    return signed_infinity.flatten().sort(descending=True, stable=True).values


def cut(matrix: Tensor, *, rows: int, columns: int) -> Tensor:
    """[tiles, rows, columns] of a matrix whose sides they divide; tiles in row-major order.

    >>> cut(torch.arange(8).reshape(2, 4), rows=2, columns=2).tolist()
    [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    """
    down, across = matrix.shape[0] // rows, matrix.shape[1] // columns
    return (
        matrix.reshape(down, rows, across, columns).permute(0, 2, 1, 3).reshape(down * across, rows, columns)
    )


def join(tiles: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `cut`: the matrix of that shape."""
    _, rows, columns = tiles.shape
    down, across = shape[0] // rows, shape[1] // columns
    return tiles.reshape(down, across, rows, columns).permute(0, 2, 1, 3).reshape(shape)


def _ranked(tiles: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Places [U, L, D] of each lane from best to worst, and level and gain [U, D] of each tile's bundles."""
    value, level = levelled(tiles, keep)
    places = stable_descending(value, level)
    value, level = value.gather(2, places), level.gather(2, places)
    gain, total = value[:, 0].clone(), level[:, 0].clone()
    for lane in range(
        1, tiles.shape[1]
    ):  # a fixed order of additions: rounding keeps the gains of a tile non-increasing
        gain += value[:, lane]
        total += level[:, lane]
    return places, total, gain


def levelled(scores: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Finite values (float64) and levels (int64) of scores, see the module docstring."""
    value = scores.double()
    level = torch.isposinf(value).long() - torch.isneginf(value).long()
    value = value.masked_fill(level != 0, 0.0)
    return value, level if keep is None else level + keep.long() * KEEP_LEVEL


def stable_descending(value: Tensor, level: Tensor) -> Tensor:
    """Indices along the last dimension from the highest (level, value) to the lowest, lower index first among equals."""
    order = value.argsort(dim=-1, descending=True, stable=True)
    if not bool((level != 0).any()):
        return order
    by_level = level.gather(-1, order).argsort(dim=-1, descending=True, stable=True)
    return order.gather(-1, by_level)
