"""What every pattern is: a rule which masks of a matrix [R, C] (rows = outputs, columns = inputs) are legal.

A pattern is a frozen record of its parameters. `counts` says which totals of kept entries exist, `mask` finds the
legal mask of exactly that many entries with the largest score, `check` names the first violation. Dropping and growing are both `mask`:

    drop   pattern.mask(scores.where(mask, -inf), fewer)            a subset of `mask`: every legal mask has legal subsets
    grow   pattern.mask(grow_scores, more, keep=kept)               a superset of `kept`

The same without any tensor of R * C numbers, on *positions* (r * C + c, int64, on the CPU, sorted ascending) of a legal set:

    drop   positions[pattern.select(positions, scores, shape, fewer)]          what `mask` keeps of it, ties included
    grow   pattern.draw(positions, shape, more, generator)                     absent positions, uniformly at random over units

Shared rules. Scores are higher = keep; -inf means "take last"; NaN is an error. Counts are exact. Ties are stable: among equal entries
(or units) the lower row-major index wins. Masks are bool, True = kept, on the device of the scores.
"""

from __future__ import annotations

from numbers import Integral
from typing import Protocol, Self

import torch
from torch import Tensor

from gossamer.errors import PatternError

Shape = tuple[int, int]
_STRIP = 1 << 19  # entries of a mask at a time: `check` takes up to 20 bytes each


class Pattern(Protocol):
    """A family of legal masks; see the module docstring for the rules that all members share."""

    @classmethod
    def parse(cls, arguments: str) -> Self:
        """The pattern of the part of its string after the colon."""
        ...

    @property
    def group_rows(self) -> int:
        """Rows that a unit belongs to; the number of rows is a multiple."""
        ...

    def counts(self, shape: Shape) -> range:
        """All legal totals of kept entries, ascending from 0; PatternError when the pattern cannot live on the shape."""
        ...

    def target(self, shape: Shape) -> int | None:
        """The one final total of a pattern that fixes its own sparsity (N:M), None for all others."""
        ...

    def mask(self, scores: Tensor, num_kept: int, keep: Tensor | None = None) -> Tensor:
        """The legal mask [R, C] of exactly `num_kept` entries that contains `keep` and has the largest total score."""
        ...

    def for_weight(self, weight: tuple[int, ...]) -> Pattern:
        """The pattern on the matrix of a weight of this shape: itself, but for patterns that must know the filter size."""
        ...

    def select(self, positions: Tensor, scores: Tensor, shape: Shape, num_kept: int) -> Tensor:
        """bool [nnz]: the entries of the legal set `positions` that stay when `num_kept` stay, by their scores [nnz]: as
        `mask(dense scores, -inf elsewhere, num_kept)` has it, ties included."""
        ...

    def draw(
        self,
        positions: Tensor,
        shape: Shape,
        num_kept: int,
        generator: torch.Generator,
        exclude: Tensor | None = None,
    ) -> Tensor:
        """Sorted absent positions that enter the legal set `positions` to make it a legal one of `num_kept`; uniform over the units.
        `exclude` (sorted, absent) enters only where nothing else is left."""
        ...

    def gains(self, scores: Tensor) -> Tensor:
        """float64 [number of units]: what the best mask gains with each further unit, non-increasing (for global ranking)."""
        ...

    def check(self, mask: Tensor) -> None:
        """PatternError that names the first place where the mask breaks the pattern."""
        ...

    def __hash__(self) -> int:
        """Equal patterns are one key: what depends on a pattern and a shape alone is worked out once."""
        ...

    def __str__(self) -> str:
        """The pattern string, which `parse_pattern` reads back."""
        ...


def check_positions(pattern: Pattern, positions: Tensor, shape: Shape) -> None:
    """`check` of the mask that keeps these ascending positions, a strip of rows at a time, never as a whole.

    A strip stands under the first group of rows, with which counts that must be equal everywhere are compared.
    """
    (rows, columns), group = shape, pattern.group_rows
    checked_shape(pattern, shape, rows=group, columns=1)
    step = max(1, _STRIP // (columns * group)) * group
    for first in range(0, rows, step):
        last, above = min(first + step, rows), group if first else 0
        strip = torch.zeros(above + last - first, columns, dtype=torch.bool)
        for begin, end, at in ((0, above, 0), (first, last, above)):
            low, high = torch.searchsorted(positions, torch.tensor([begin, end]) * columns).tolist()
            strip.view(-1)[positions[low:high] + (at - begin) * columns] = True
        try:
            pattern.check(strip)
        except PatternError as error:
            where = f" (rows counted from row {first - above}, under the first {above})" if first else ""
            raise PatternError(f"{error}{where}") from None


def checked_shape(pattern: Pattern, shape: Shape, *, rows: int, columns: int) -> Shape:
    """The shape, if its rows and columns are positive multiples of the given numbers; otherwise a PatternError with a sentence."""
    sizes: tuple[int, ...] = shape
    if len(sizes) != 2 or min(sizes) < 1:
        raise PatternError(
            f"{pattern}: expected a matrix shape (rows, columns) of positive numbers, got {tuple(shape)}"
        )
    for name, size, unit in (("rows", shape[0], rows), ("columns", shape[1], columns)):
        if size % unit:
            raise PatternError(
                f"{pattern} needs {name} divisible by {unit}: expected a multiple of {unit}, got {size} {name} "
                f"(shape {shape[0]}x{shape[1]}); leave this layer dense or choose another pattern"
            )
    return shape


def checked_request(pattern: Pattern, scores: Tensor, num_kept: int, keep: Tensor | None) -> None:
    """Refuse what no mask can answer: wrong dimensions, NaN, an illegal count, a `keep` of another shape or larger than the count."""
    _check_tensor(pattern, "scores", scores)
    if scores.ndim != 2:
        raise PatternError(
            f"{pattern}: expected scores of a matrix [rows, columns], got shape {tuple(scores.shape)}"
        )
    if not scores.is_floating_point():
        raise PatternError(f"{pattern}: expected floating-point scores, got {scores.dtype}")
    counts = pattern.counts((scores.shape[0], scores.shape[1]))
    _check_count(pattern, (scores.shape[0], scores.shape[1]), counts, num_kept)
    _check_no_nan(pattern, scores)
    if keep is not None:
        _check_tensor(pattern, "keep", keep)
        if keep.shape != scores.shape or keep.dtype != torch.bool:
            raise PatternError(
                f"{pattern}: expected keep to be bool of shape {tuple(scores.shape)}, got {keep.dtype} of shape {tuple(keep.shape)}"
            )
        if int(keep.sum()) > num_kept:
            raise cannot_complete(pattern, keep, num_kept)


def checked_positions(pattern: Pattern, positions: Tensor, shape: Shape, num_kept: int, *, more: bool) -> int:
    """nnz, if `positions` are sorted places of a matrix of that shape, and `num_kept` is a legal count of no fewer (`more`), or no more."""
    counts = pattern.counts(shape)
    _check_tensor(pattern, "positions", positions)
    if positions.ndim != 1 or positions.dtype != torch.int64 or positions.device.type != "cpu":
        raise PatternError(
            f"{pattern}: expected positions as int64 [nnz] on the CPU, got {positions.dtype} {list(positions.shape)} on {positions.device}"
        )
    nnz, size = positions.numel(), shape[0] * shape[1]
    inside = not nnz or 0 <= int(positions[0]) <= int(positions[-1]) < size
    if not inside or not bool((positions[1:] > positions[:-1]).all()):
        raise PatternError(
            f"{pattern}: expected positions ascending from 0 to {size - 1} at most, each once; sort them"
        )
    _check_count(pattern, shape, counts, num_kept)
    if nnz not in counts or (nnz > num_kept if more else nnz < num_kept):
        raise PatternError(
            f"{pattern}: expected a legal set of at {'most' if more else 'least'} {num_kept} positions, got {nnz}"
        )
    return nnz


def checked_scores(pattern: Pattern, scores: Tensor, nnz: int) -> Tensor:
    """The scores of the entries of a set, if they are as many, floating-point and no NaN; on the CPU."""
    _check_tensor(pattern, "scores", scores)
    if scores.shape != (nnz,) or not scores.is_floating_point():
        raise PatternError(
            f"{pattern}: expected floating-point scores [{nnz}] of the positions, got {scores.dtype} {list(scores.shape)}"
        )
    _check_no_nan(pattern, scores)
    return scores.detach().cpu()


def checked_generator(pattern: Pattern, generator: object) -> torch.Generator:
    """The generator, if it is an explicit one on the CPU, so that the choice does not depend on the device."""
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        got = f"one on {generator.device}" if isinstance(generator, torch.Generator) else repr(generator)
        raise PatternError(
            f"{pattern}: expected an explicit torch.Generator on the CPU to draw from, got {got}"
        )
    return generator


def checked_mask(pattern: Pattern, mask: Tensor) -> Shape:
    """The shape of a mask to be checked, if it is a bool matrix."""
    _check_tensor(pattern, "mask", mask)
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise PatternError(
            f"{pattern}: expected a bool mask [rows, columns], got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    return mask.shape[0], mask.shape[1]


def is_whole(value: object) -> bool:
    """Whether a value is an integer, which a float or a bool is not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def checked_parameters(family: str, **parameters: object) -> None:
    """PatternError unless all parameters are integers."""
    for name, value in parameters.items():
        if not is_whole(value):
            raise PatternError(f"{family}: expected {name} to be an integer, got {value!r}")


def cannot_complete(pattern: Pattern, keep: Tensor, num_kept: int) -> PatternError:
    """The error of a `keep` that no legal mask of `num_kept` entries contains."""
    return PatternError(
        f"{pattern}: expected a keep that some legal mask of {num_kept} entries contains, got a keep of {int(keep.sum())} entries "
        f"that forces more; raise num_kept or keep fewer entries"
    )


def nearest_count(counts: range, wanted: float) -> int:
    """The legal count nearest to `wanted`; halfway goes to the smaller one.

    >>> nearest_count(range(0, 33, 8), 13), nearest_count(range(0, 33, 8), 12), nearest_count(range(0, 33, 8), 1e9)
    (16, 8, 32)
    """
    below = min(max(int(wanted // counts.step), 0), len(counts) - 1)
    above = min(below + 1, len(counts) - 1)
    return counts[below] if wanted - counts[below] <= counts[above] - wanted else counts[above]


def _check_count(pattern: Pattern, shape: Shape, counts: range, num_kept: int) -> None:
    if not is_whole(num_kept):
        raise PatternError(f"{pattern}: expected num_kept to be an integer, got {num_kept!r}")
    if num_kept not in counts:
        raise PatternError(
            f"{pattern} on {shape[0]}x{shape[1]}: expected num_kept to be a multiple of {counts.step} "
            f"between 0 and {counts[-1]}, got {num_kept}; the nearest legal count is {nearest_count(counts, num_kept)}"
        )


def _check_no_nan(pattern: Pattern, scores: Tensor) -> None:
    if bool(torch.isnan(scores).any()):
        raise PatternError(
            f"{pattern}: expected scores without NaN, got {int(torch.isnan(scores).sum())} NaN of {scores.numel()}"
        )


def _check_tensor(pattern: Pattern, name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise PatternError(f"{pattern}: expected {name} as a torch tensor, got {type(value).__name__}")


def first(broken: Tensor) -> tuple[int, ...]:
    """The index of the first True of a tensor with at least one."""
    return tuple(int(i) for i in broken.nonzero()[0])
