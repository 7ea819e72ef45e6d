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
    ties = (scores == threshold).nonzero().flatten()
    chosen[ties[: num_kept - int(chosen.sum())]] = True
    return chosen


def _kth(scores: Tensor, place: int) -> Tensor:
    """The value at this place of scores [N] in ascending order, from 0."""
    if scores.device.type != "cpu":
        return torch.kthvalue(scores, place + 1).values
    ordered = scores.detach().clone()  # torch's kthvalue takes 12 bytes a score beside the copy
    ordered.numpy().partition(place)
    return ordered[place]


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
