"""Random choice by index: distinct numbers among those that are not taken, without a tensor of all numbers.

Keys are integers, sorted ascending. A *segment* s of size n holds the keys from s n to (s + 1) n - 1. What is absent is ranked: the r-th
absent key is r + (the number of taken keys before it), one binary search over `key - index`. Ranks are drawn, repeated ones drawn again;
where more than half of a segment enters, the ranks that stay out are drawn instead. By symmetry every set of ranks is equally likely.

Memory is a few numbers for every taken, wanted or excluded key, whatever the segments' sizes; what is computed from each drawn number alone
is computed piece by piece, in place, because a large layer has millions of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_PIECE = 1 << 16  # numbers at a time


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
    end = free.cumsum(0)
    drawn = _draw_ranks(end, at_first, generator)
    # The first rank of a segment among all absent keys, less its first one among those of the segments.
    shift = segments * size - before - (end - free)
    for ranks in pieces(drawn):
        ranks += shift[torch.searchsorted(end, ranks, right=True)]
    _skip(blocked, drawn)
    left = wanted - at_first
    if exclude is not None and bool(left.any()):
        start = torch.searchsorted(exclude, segments * size)
        held = torch.searchsorted(exclude, (segments + 1) * size) - start
        end = held.cumsum(0)
        ranks = _draw_ranks(end, left, generator)
        owner = torch.searchsorted(end, ranks, right=True)
        drawn = merged(drawn, exclude[ranks + (start - end + held)[owner]])
    assert drawn.numel() == int(wanted.sum()), "the caller checks that so many keys are absent"
    return drawn


def pieces(numbers: Tensor, size: int = _PIECE) -> list[Tensor]:
    """Views of `size` numbers at a time."""
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def piecewise(change: Callable[[Tensor], Tensor], numbers: Tensor) -> Tensor:
    """change(numbers) for a change of each number alone; its temporaries stay small."""
    changed = torch.empty_like(numbers)
    for piece, result in zip(pieces(numbers), pieces(changed), strict=True):
        result.copy_(change(piece))
    return changed


def merged(first: Tensor, second: Tensor) -> Tensor:
    """The sorted keys of both."""
    return in_place_sorted(torch.cat([first, second]))


def in_place_sorted(keys: Tensor) -> Tensor:
    """The same tensor, ascending."""
    keys.numpy().sort()  # in place: torch's sort takes three times the memory
    return keys


def holds(keys: Tensor, asked: Tensor) -> Tensor:
    """bool, in the shape of `asked`: which of them are among sorted `keys`."""
    if not keys.numel():
        return torch.zeros_like(asked, dtype=torch.bool)
    at = torch.searchsorted(keys, asked).clamp_(max=keys.numel() - 1)
    return keys[at] == asked


def held_in(parts: list[Tensor], asked: Tensor) -> Tensor:
    """bool, in the shape of `asked`: which of them are in one of the `parts`, each of them sorted keys."""
    found = torch.zeros_like(asked, dtype=torch.bool)
    for part in parts:
        found |= holds(part, asked)
    return found


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


def _draw_ranks(end: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """wanted[s] distinct numbers each from end[s - 1] (0 for the first) to end[s] - 1; ascending."""
    begin = torch.cat([torch.zeros(1, dtype=torch.int64), end])[:-1]
    free = end - begin
    inverse = 2 * wanted > free
    count = torch.where(inverse, free - wanted, wanted)
    found, rounds = torch.empty(int(count.sum()), dtype=torch.int64), list[Tensor]()
    short = (
        count.nonzero().flatten()
    )  # segments that lack some; each round is a sorted part of `found`, and smaller than the one before
    missing, held = count[short], 0
    while short.numel():
        drawn = found[held:]
        _draw(begin[short], free[short], missing, generator, drawn)
        rounds.append(drawn[: _distinct(in_place_sorted(drawn), rounds)])
        held += len(rounds[-1])
        missing = (
            missing
            - torch.searchsorted(rounds[-1], end[short])
            + torch.searchsorted(rounds[-1], begin[short])
        )
        short, missing = short[missing > 0], missing[missing > 0]
    in_place_sorted(found)
    if not bool(inverse.any()):
        return found
    out = inverse[torch.searchsorted(end, found, right=True)]
    sizes = free[inverse]
    shift = begin[inverse] - sizes.cumsum(0) + sizes
    whole = torch.arange(int(sizes.sum())) + shift.repeat_interleave(sizes)
    return merged(found[~out], whole[~holds(found[out], whole)])


def _skip(blocked: Tensor, ranks: Tensor) -> None:
    """Ascending ranks among the keys that are not blocked become keys, in place: each adds the number of blocked keys before it."""
    starts = torch.arange(0, blocked.numel(), _PIECE)
    first = torch.searchsorted(ranks, blocked[::_PIECE] - starts).tolist()
    for start, begin, end in zip(starts.tolist(), first, [*first, len(ranks)][1:], strict=True):
        part = blocked[start : start + _PIECE]
        gaps = part - torch.arange(start, start + len(part))  # absent keys before each blocked one
        for piece in pieces(ranks[begin:end]):
            piece += torch.searchsorted(gaps, piece, right=True).add_(start)


def _draw(begin: Tensor, free: Tensor, counts: Tensor, generator: torch.Generator, out: Tensor) -> None:
    """Writes counts[s] numbers from begin[s] to begin[s] + free[s] - 1 each, repeated ones among them."""
    last = counts.cumsum(0)
    at = 0
    for piece in pieces(out):
        owner = torch.searchsorted(last, torch.arange(at, at + len(piece)), right=True)
        at += len(piece)
        torch.add(begin[owner], below(free[owner], generator), out=piece)


def _distinct(keys: Tensor, others: list[Tensor]) -> int:
    """Moves one of each of the sorted keys to the front, in place, but none that is in the sorted `others`; how many."""
    count, before = 0, -1
    for piece in pieces(keys):
        new = torch.ones(len(piece), dtype=torch.bool)
        torch.ne(piece[1:], piece[:-1], out=new[1:])
        new[0] = int(piece[0]) != before
        before = int(piece[-1])
        kept = piece[new & ~held_in(others, piece)]
        keys[count : count + len(kept)] = kept
        count += len(kept)
    return count
