"""Random choice by index: distinct numbers among those that are not taken, without a tensor of all numbers.

Keys are integers, sorted ascending. A *segment* s of size n holds the keys from s n to (s + 1) n - 1. What is absent is ranked: the r-th
absent key is r + (the number of taken keys before it), one binary search over `key - index`. Ranks are drawn, repeated ones drawn again;
where more than half of a segment enters, the ranks that stay out are drawn instead. By symmetry every set of ranks is equally likely.

Memory is a few numbers for every taken, wanted or excluded key, whatever the segments' sizes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw_keys(
    taken: Tensor,  # int64 [n], sorted keys that cannot be drawn
    segments: Tensor,  # int64 [S], ascending
    wanted: Tensor,  # int64 [S]: how many of each segment
    *,
    size: int,  # keys of a segment
    generator: torch.Generator,
    exclude: Tensor
    | None = None,  # int64 [m], sorted, none of `taken`: drawn only where a segment has nothing else
) -> Tensor:
    """int64 [sum of wanted]: sorted keys, uniformly at random among the absent ones of each segment.

    >>> draw_keys(torch.tensor([0, 2]), torch.tensor([0]), torch.tensor([2]), size=4, generator=torch.Generator())
    tensor([1, 3])
    >>> draw_keys(torch.tensor([0, 2]), torch.tensor([2**40]), torch.tensor([1]), size=1, generator=torch.Generator())
    tensor([1099511627776])
    """
    blocked = taken if exclude is None else merged(taken, exclude)
    before = torch.searchsorted(blocked, segments * size)
    free = size - (torch.searchsorted(blocked, (segments + 1) * size) - before)
    at_first = torch.minimum(wanted, free)
    owner, rank = _draw_ranks(free, at_first, generator)
    drawn = _absent(blocked, segments[owner] * size - before[owner] + rank)
    left = wanted - at_first
    if exclude is not None and bool(left.any()):
        start = torch.searchsorted(exclude, segments * size)
        held = torch.searchsorted(exclude, (segments + 1) * size) - start
        owner, rank = _draw_ranks(held, left, generator)
        drawn = merged(drawn, exclude[start[owner] + rank])
    assert drawn.numel() == int(wanted.sum()), "the caller checks that so many keys are absent"
    return drawn


def merged(first: Tensor, second: Tensor) -> Tensor:
    """The sorted keys of both."""
    return torch.cat([first, second]).sort().values


def holds(keys: Tensor, asked: Tensor) -> Tensor:
    """bool, in the shape of `asked`: which of them are among sorted `keys`."""
    if not keys.numel():
        return torch.zeros_like(asked, dtype=torch.bool)
    at = torch.searchsorted(keys, asked).clamp_(max=keys.numel() - 1)
    return keys[at] == asked


def runs(keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of sorted keys: the distinct ones [n], how often each occurs [n], and for every key which of them it is.

    >>> runs(torch.tensor([4, 4, 7]))
    (tensor([4, 7]), tensor([2, 1]), tensor([0, 0, 1]))
    """
    new = torch.ones(keys.numel(), dtype=torch.bool)
    new[1:] = keys[1:] != keys[:-1]
    index = new.cumsum(0) - 1
    distinct = keys[new]
    return distinct, torch.bincount(index, minlength=distinct.numel()), index


def below(bounds: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform integers from 0 to `bounds` - 1 each, in the shape of `bounds` (bias below bounds / 2^63)."""
    numbers = torch.empty(bounds.shape, dtype=torch.int64)
    return numbers.random_(generator=generator).remainder_(bounds)


def _absent(taken: Tensor, rank: Tensor) -> Tensor:
    """The absent keys of these ranks, counted from key 0 on."""
    gaps = taken - torch.arange(taken.numel())  # absent keys before each taken one
    return rank + torch.searchsorted(gaps, rank, right=True)


def _draw_ranks(free: Tensor, wanted: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Index of the segment, and rank below free[segment], of wanted[segment] distinct draws each; ascending."""
    end = free.cumsum(0)
    begin = end - free  # the ranks of all segments stand in one row
    inverse = 2 * wanted > free
    count = torch.where(inverse, free - wanted, wanted)
    found, missing = torch.empty(0, dtype=torch.int64), count
    while bool((missing > 0).any()):
        owner = torch.arange(free.numel()).repeat_interleave(missing)
        found = runs(merged(found, begin[owner] + below(free[owner], generator)))[0]
        missing = count - (torch.searchsorted(found, end) - torch.searchsorted(found, begin))
    owner = torch.searchsorted(end, found, right=True)
    whole_owner = torch.arange(free.numel()).repeat_interleave(torch.where(inverse, free, 0))
    first = torch.searchsorted(whole_owner, whole_owner)
    whole = begin[whole_owner] + torch.arange(whole_owner.numel()) - first
    stays = ~holds(found, whole)
    ranks = merged(found[~inverse[owner]], whole[stays])
    owner = torch.searchsorted(end, ranks, right=True)
    return owner, ranks - begin[owner]
