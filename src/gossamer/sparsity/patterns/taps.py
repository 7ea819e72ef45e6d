"""Taps: each filter slice (one output, one input channel) of a 3x3 convolution keeps four of its nine taps, or is absent as a whole.

The four taps are one of seven sets that keep the centre: the 2x2 squares in the four corners, and the centre with three of its four
neighbours (not with the upper, left and right one); `_SETS` draws them. Whole slices are removed as well (*connectivity*),
equally many in every filter, so that every output costs the same. A legal total is therefore 4 R q: q slices in each of the R filters.

    sparsity = 1 - (4/9) (q / c_in),    at least 5/9 = 55.6 %, and always the *overall* one: never the fraction of slices

1x1 convolutions, and linear layers, have one tap a slice: only connectivity, equally many entries in every row. Other filter sizes are
refused. Best mask: every slice takes the set with the largest kept score (the first among equals), every filter its q best slices (the
lowest channel among equals).

Papers: pattern and connectivity sparsity, PCONV (AAAI 2020); the same in sparse training, MEST (NeurIPS 2021). The sets are those of the
table in MEST's released code but one: its fifth leaves out the centre, unlike the others and the description of PCONV, and is taken for a
slip. Deviations: scores add up (give w^2 for their L2 norm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Generator, Tensor

from gossamer.errors import PatternError
from gossamer.sparsity.patterns.drawing import below, draw_keys, runs
from gossamer.sparsity.patterns.pattern import (
    Shape,
    cannot_complete,
    checked_generator,
    checked_mask,
    checked_parameters,
    checked_positions,
    checked_request,
    checked_scores,
    checked_shape,
    first,
)
from gossamer.sparsity.patterns.tiles import levelled, stable_descending

_SETS = (  # taps row by row; x = kept
    ("...", ".xx", ".xx"),
    ("...", "xx.", "xx."),
    (".xx", ".xx", "..."),
    ("xx.", "xx.", "..."),
    ("...", "xxx", ".x."),
    (".x.", ".xx", ".x."),
    (".x.", "xx.", ".x."),
)
SETS = {
    9: tuple(tuple(i for i, c in enumerate("".join(rows)) if c == "x") for rows in _SETS),
    1: ((0,),),
}


@dataclass(frozen=True, kw_only=True)
class Taps:
    """One of the seven sets of four taps in every kept slice; equally many slices in every filter.

    >>> import torch
    >>> scores = torch.tensor([[1.0, 0.0, 0.0, 0.0, 5.0, 2.0, 0.0, 3.0, 4.0]])  # one slice, row by row
    >>> Taps().mask(scores, 4).int().reshape(3, 3)
    tensor([[0, 0, 0],
            [0, 1, 1],
            [0, 1, 1]], dtype=torch.int32)
    >>> Taps().counts((2, 27)), Taps().for_weight((2, 27, 1, 1)).counts((2, 27))
    (range(0, 25, 8), range(0, 55, 2))
    """

    kept: int = 4  # taps of a slice
    taps: int = 9  # of a filter: 9 for 3x3, 1 for 1x1; `for_weight` sets it

    def __post_init__(self) -> None:
        checked_parameters("taps", kept=self.kept, taps=self.taps)
        if self.kept != 4:
            raise PatternError(f"taps: expected 4 kept of the 9 taps of a filter slice, got {self.kept}")
        if self.taps not in SETS:
            raise PatternError(f"taps: expected filters of 9 taps or of 1, got {self.taps}")

    @classmethod
    def parse(cls, arguments: str) -> Self:
        if not arguments.isdecimal():
            given = f"taps:{arguments}" if arguments else "taps"
            raise PatternError(
                f"expected taps:4, four kept of the nine taps of a filter slice, got {given!r}"
            )
        return cls(kept=int(arguments))

    def for_weight(self, weight: tuple[int, ...]) -> Taps:
        """With the taps of this weight's filter: 3x3, or 1x1 and linear."""
        size = weight[2:]
        if all(side == 1 for side in size):
            return Taps(kept=self.kept, taps=1)
        if size == (3, 3):
            return Taps(kept=self.kept, taps=9)
        raise PatternError(
            f"{self} needs filters of 3x3 taps, or of 1x1: expected 3x3, got {'x'.join(map(str, size))}; "
            "leave this layer dense or choose another pattern"
        )

    @property
    def group_rows(self) -> int:
        return 1

    def counts(self, shape: Shape) -> range:
        rows, columns = checked_shape(self, shape, rows=1, columns=self.taps)
        unit = rows * self._per_slice
        return range(0, unit * (columns // self.taps) + 1, unit)

    def target(self, shape: Shape) -> int | None:
        return None

    def mask(self, scores: Tensor, num_kept: int, keep: Tensor | None = None) -> Tensor:
        checked_request(self, scores, num_kept, keep)
        slices = self._slices(scores)  # [R, c_in, taps]
        value, level = levelled(slices, None if keep is None else self._slices(keep))
        sets = torch.tensor(SETS[self.taps], device=scores.device)  # [S, 4]
        value, level = _summed(value[..., sets]), _summed(level[..., sets])  # [R, c_in, S]
        best = stable_descending(value, level)[..., :1]
        order = stable_descending(value.gather(-1, best)[..., 0], level.gather(-1, best)[..., 0])
        chosen = order[:, : self._slices_kept(num_kept, scores.shape[0])]  # [R, q]
        inside = torch.zeros(slices.shape, dtype=torch.bool, device=scores.device)
        inside.scatter_(2, sets[best[..., 0]], True)
        kept = torch.zeros(slices.shape[:2], dtype=torch.bool, device=scores.device).scatter_(1, chosen, True)
        mask = (inside & kept[..., None]).transpose(1, 2).reshape(scores.shape)
        if keep is not None and bool((keep & ~mask).any()):
            raise cannot_complete(self, keep, num_kept)
        return mask

    def select(self, positions: Tensor, scores: Tensor, shape: Shape, num_kept: int) -> Tensor:
        nnz = checked_positions(self, positions, shape, num_kept, more=False)
        value, level = levelled(checked_scores(self, scores, nnz), None)
        order = self._keys(positions, shape).argsort()
        by_slice = order.reshape(
            shape[0], self._slices_kept(nnz, shape[0]), self._per_slice
        )  # [R, slices of a row, 4]
        gain, total = _summed(value[by_slice]), _summed(level[by_slice])
        best = stable_descending(gain, total)[:, : self._slices_kept(num_kept, shape[0])]
        stays = by_slice.gather(1, best[..., None].expand(-1, -1, self._per_slice))
        return torch.zeros(nnz, dtype=torch.bool).index_fill_(0, stays.flatten(), True)

    def draw(
        self,
        positions: Tensor,
        shape: Shape,
        num_kept: int,
        generator: Generator,
        exclude: Tensor | None = None,
    ) -> Tensor:
        """A unit is a slice: as many absent ones enter every filter, each with any of the sets."""
        nnz = checked_positions(self, positions, shape, num_kept, more=True)
        generator = checked_generator(self, generator)
        rows = torch.arange(shape[0])
        drawn = draw_keys(
            self._kept_slices(positions, shape),
            rows,
            torch.full_like(rows, self._slices_kept(num_kept - nnz, shape[0])),
            size=shape[1] // self.taps,
            generator=generator,
            exclude=None if exclude is None else self._kept_slices(exclude, shape),
        )
        sets = torch.tensor(SETS[self.taps])
        tap = sets[below(torch.full_like(drawn, len(sets)), generator)]
        channels = shape[1] // self.taps
        entries = (
            (drawn // channels * self.taps)[:, None] * channels + tap * channels + (drawn % channels)[:, None]
        )
        return entries.flatten().sort().values

    def gains(self, scores: Tensor) -> Tensor:
        checked_shape(self, (scores.shape[0], scores.shape[1]), rows=1, columns=self.taps)
        sets = torch.tensor(SETS[self.taps], device=scores.device)
        best = _summed(self._slices(scores).double()[..., sets]).amax(dim=-1)
        return best.sort(dim=1, descending=True).values.sum(dim=0)

    def check(self, mask: Tensor) -> None:
        rows, _ = checked_shape(self, checked_mask(self, mask), rows=1, columns=self.taps)
        slices = self._slices(mask).cpu()
        codes = (slices.long() << torch.arange(self.taps)).sum(dim=2)  # [R, c_in]
        legal = torch.tensor([0, *(sum(1 << tap for tap in taps) for taps in SETS[self.taps])])
        broken = ~torch.isin(codes, legal)
        if bool(broken.any()):
            row, channel = first(broken)
            raise PatternError(
                f"{self}: expected one of the {len(SETS[self.taps])} sets of {self._per_slice} taps or nothing, got taps "
                f"{slices[row, channel].nonzero().flatten().tolist()} of the filter slice of row {row}, channel {channel}"
            )
        kept = (codes != 0).sum(dim=1)
        wrong = kept != kept[0]
        if bool(wrong.any()):
            row = first(wrong)[0]
            raise PatternError(
                f"{self}: expected equally many filter slices in every row, {int(kept[0])} as in the first, got {int(kept[row])} "
                f"in row {row} of {rows}"
            )

    def __str__(self) -> str:
        return f"taps:{self.kept}"

    @property
    def _per_slice(self) -> int:
        return len(SETS[self.taps][0])

    def _slices_kept(self, num_kept: int, rows: int) -> int:
        """q: the slices of each filter."""
        return num_kept // (rows * self._per_slice)

    def _slices(self, matrix: Tensor) -> Tensor:
        """[R, c_in, taps] of a matrix whose columns are (tap, c_in)."""
        return matrix.reshape(matrix.shape[0], self.taps, -1).transpose(1, 2)

    def _keys(self, positions: Tensor, shape: Shape) -> Tensor:
        """(row * c_in + channel) * taps + tap of positions."""
        channels = shape[1] // self.taps
        row, column = positions // shape[1], positions % shape[1]
        return (row * channels + column % channels) * self.taps + column // channels

    def _kept_slices(self, positions: Tensor, shape: Shape) -> Tensor:
        """Sorted numbers row * c_in + channel of the slices that these positions touch."""
        return runs((self._keys(positions, shape) // self.taps).sort().values)[0]


def _summed(terms: Tensor) -> Tensor:
    """The sum over the last dimension, term after term: the same rounding wherever it is computed."""
    total = terms[..., 0].clone()
    for number in range(1, terms.shape[-1]):
        total += terms[..., number]
    return total
