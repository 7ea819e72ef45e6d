"""Bundles of tiled patterns as positions: which of the active ones stay, which absent ones enter; memory as the number of entries.

The dense twins are in `tiles.py`: U tiles of L lanes and D places, a bundle takes one place in every lane of one tile. Here an entry is a
number, its *key* (tile * L + lane) * D + place, and only active entries have one. A tile with T bundles has T entries in every lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import PatternError
from gossamer.sparsity.patterns.drawing import draw_keys, in_place_sorted, pieces, piecewise, runs
from gossamer.sparsity.patterns.tiles import levelled, stable_descending, top_entries

_ENTRIES = 1 << 15  # that are looked at at a time: 150 bytes each
_TILES = 1 << 13  # in which bundles are drawn at a time


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How positions of a matrix become keys, and back."""

    tiles: int
    lanes: int  # L
    depth: int  # D, places of a lane
    strip: int  # positions of one row of tiles, which stand together: a multiple of the size of a tile
    keys: Callable[[Tensor], Tensor]  # positions int64 [n] -> keys int64 [n]
    positions: Callable[[Tensor], Tensor]  # the inverse

    @property
    def size(self) -> int:
        """Entries of a tile."""
        return self.lanes * self.depth


def cut_keys(shape: tuple[int, int], *, rows: int, columns: int, lanes: int) -> Tiling:
    """The tiling whose tiles are rows x columns, in row-major order, as are the entries of a tile; `lanes` divides those.

    >>> tiling = cut_keys((2, 4), rows=2, columns=2, lanes=2)
    >>> tiling.keys(torch.arange(8)).tolist(), tiling.positions(torch.arange(8)).tolist()
    ([0, 1, 4, 5, 2, 3, 6, 7], [0, 1, 4, 5, 2, 3, 6, 7])
    """
    across, size = shape[1] // columns, rows * columns

    def keys(positions: Tensor) -> Tensor:
        row, column = positions // shape[1], positions % shape[1]
        tile = (row // rows) * across + column // columns
        return tile * size + (row % rows) * columns + column % columns

    def positions(keys: Tensor) -> Tensor:
        tile, entry = keys // size, keys % size
        row = (tile // across) * rows + entry // columns
        return row * shape[1] + (tile % across) * columns + entry % columns

    return Tiling(
        tiles=shape[0] // rows * across,
        lanes=lanes,
        depth=size // lanes,
        strip=rows * shape[1],
        keys=keys,
        positions=positions,
    )


def select_bundles(tiling: Tiling, positions: Tensor, scores: Tensor, num_bundles: int) -> Tensor:
    """bool [nnz]: the entries of the best `num_bundles` bundles of the active ones; the choice of `top_bundles`, ties included.

    Bundles are found some rows of tiles at a time, and again when the best are known, so that each takes 12 bytes in between.
    """
    chosen = torch.zeros(positions.numel(), dtype=torch.bool)
    if not num_bundles:
        return chosen
    count = positions.numel() // tiling.lanes
    gains, levels = torch.empty(count, dtype=torch.float64), torch.empty(count, dtype=torch.int32)
    found = 0
    for part in _strips(tiling, positions):
        entries, gain, level = _bundles(tiling, positions[part], scores[part])
        gains[found : found + len(entries)], levels[found : found + len(entries)] = gain, level
        found += len(entries)
    if bool(levels.any()):
        best = torch.zeros(count, dtype=torch.bool)
        best[stable_descending(gains, levels.long())[:num_bundles]] = True
    else:
        best = top_entries(gains, num_bundles, None)
    found = 0
    for part in _strips(tiling, positions):
        entries, _, _ = _bundles(tiling, positions[part], scores[part])
        chosen[part][entries[best[found : found + len(entries)]].flatten()] = True
        found += len(entries)
    return chosen


def _bundles(tiling: Tiling, positions: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of whole tiles: the entries of every bundle [n, L], from the best of a tile to its worst, and the gain and level of each [n]."""
    value, level = levelled(scores, None)
    lane = tiling.keys(positions) // tiling.depth
    if tiling.depth == 1:
        order = lane.argsort()
    else:
        order = stable_descending(value, level)
        order = order[lane[order].argsort(stable=True)]  # lane by lane, each from best to worst
    lane = lane[order]
    nth = torch.arange(lane.numel()) - torch.searchsorted(lane, lane)
    bundle = lane // tiling.lanes * tiling.depth + nth
    in_bundles = bundle.argsort(stable=True)
    ends = bundle[in_bundles][:: tiling.lanes], bundle[in_bundles][tiling.lanes - 1 :: tiling.lanes]
    if lane.numel() % tiling.lanes or not torch.equal(*ends):
        raise PatternError(
            f"positions: expected a legal set, {tiling.lanes} lanes with equally many entries in every tile; "
            "got one with unequal lanes"
        )
    entries = order[in_bundles].reshape(-1, tiling.lanes)
    gain, total = value[entries[:, 0]].clone(), level[entries[:, 0]].clone()
    for number in range(1, tiling.lanes):  # the order of additions of `top_bundles`
        gain += value[entries[:, number]]
        total += level[entries[:, number]]
    return entries, gain, total


def _strips(tiling: Tiling, positions: Tensor) -> Iterator[slice]:
    """Sorted positions by whole rows of tiles, about _ENTRIES at a time."""
    first = 0
    while first < positions.numel():
        last = positions[min(first + _ENTRIES, positions.numel()) - 1] // tiling.strip + 1
        end = int(torch.searchsorted(positions, last * tiling.strip))
        yield slice(first, end)
        first = end


def _sorted_keys(tiling: Tiling, positions: Tensor) -> Tensor:
    return in_place_sorted(piecewise(tiling.keys, positions))


def draw_bundles(
    tiling: Tiling, positions: Tensor, num_bundles: int, generator: torch.Generator, exclude: Tensor | None
) -> Tensor:
    """Sorted positions of `num_bundles` absent bundles: tiles by their absent bundles, then places in every lane of them."""
    held = None if exclude is None else _sorted_keys(tiling, exclude)
    filled = [
        filled_tiles(tiling, _sorted_keys(tiling, positions[part])) for part in _strips(tiling, positions)
    ]
    tile, more = draw_tiles(tiling, filled, num_bundles, generator, held)
    drawn, at = torch.empty(int(more.sum()) * tiling.lanes, dtype=torch.int64), 0
    for some, counts in zip(pieces(tile, _TILES), pieces(more, _TILES), strict=True):
        ends = torch.stack([some[0], some[-1] + 1]) * tiling.size
        rows = torch.stack([ends[0] // tiling.strip, (ends[1] - 1) // tiling.strip + 1]) * tiling.strip
        found = draw_keys(
            _between(_sorted_keys(tiling, _between(positions, rows)), ends),
            (some[:, None] * tiling.lanes + torch.arange(tiling.lanes)).flatten(),
            counts.repeat_interleave(tiling.lanes),
            size=tiling.depth,
            generator=generator,
            exclude=None if held is None else _between(held, ends),
        )
        drawn[at : at + len(found)] = found
        at += len(found)
    for piece in pieces(drawn):
        piece.copy_(tiling.positions(piece))
    return in_place_sorted(drawn)


def filled_tiles(tiling: Tiling, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Of sorted keys: the tiles [n], ascending, and how many bundles each has [n]."""
    tile, count, _ = runs(keys // tiling.size)
    return tile, count // tiling.lanes


def _between(keys: Tensor, ends: Tensor) -> Tensor:
    """Of sorted keys, those from the first of `ends` to before the second."""
    first, last = torch.searchsorted(keys, ends).tolist()
    return keys[first:last]


def draw_tiles(
    tiling: Tiling,
    filled: list[tuple[Tensor, Tensor]],
    num_bundles: int,
    generator: torch.Generator,
    exclude: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Tiles, ascending, and how many of the absent bundles each receives, all absent bundles being equally likely.

    `filled` are parts of `filled_tiles`, `exclude` sorted keys. As many bundles of a tile come last as its fullest lane of `exclude` has
    entries.
    """
    taken = [_levels(tile * tiling.depth, bundles) for tile, bundles in filled]
    held = None
    if exclude is not None:
        lane, count, _ = runs(exclude // tiling.depth)
        owner, _, index = runs(lane // tiling.lanes)
        most = torch.zeros_like(owner).scatter_reduce(0, index, count, "amax")
        held = _levels(owner * tiling.depth + tiling.depth - most, most)
    slots = draw_keys(
        torch.cat([torch.empty(0, dtype=torch.int64), *taken]),
        torch.zeros(1, dtype=torch.int64),
        torch.tensor([num_bundles]),
        size=tiling.tiles * tiling.depth,
        generator=generator,
        exclude=held,
    )
    tile, more, _ = runs(slots // tiling.depth)
    return tile, more


def _levels(start: Tensor, count: Tensor) -> Tensor:
    """start, start + 1, …: `count` numbers from each start on."""
    total = count.cumsum(0)
    return (
        start.repeat_interleave(count)
        + torch.arange(int(count.sum()))
        - (total - count).repeat_interleave(count)
    )
