"""How the model sees a value, and how the value lies in the network.

Every value of the network has the batch first. The model may see it permuted, split, joined with the batch or repeated: a `Ref` is a value
together with that view, and nothing is emitted for the view until an operation needs it. The value's sizes, factorized as far as the
view asks, are `axes` (axis 0 is the batch; sizes of 1 are left out); each dimension of the model is a tuple of axes, the slowest first.

    tokens [n, 49, 3*8] seen as (49, n*3, 8):   axes (n, 49, 3, 8), dims ((1,), (0, 2), (3,))

A negative entry -k stands for a size k that only repeats (an expansion).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BATCH = "n"


@dataclass(frozen=True)
class Many:
    """The size `factor` times the batch."""

    factor: int = 1

    def __str__(self) -> str:
        return BATCH if self.factor == 1 else f"{self.factor}*{BATCH}"


Size = int | Many
Shape = tuple[Size, ...]


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A value as the model sees it. origin: the captured node to blame where the view cannot be had."""

    value: str
    axes: Shape
    dims: tuple[tuple[int, ...], ...]
    origin: torch.fx.Node | None = None

    @property
    def shape(self) -> Shape:
        """Sizes as the model sees them."""
        return tuple(product(-axis if axis < 0 else self.axes[axis] for axis in dim) for dim in self.dims)

    @property
    def batch_dim(self) -> int | None:
        """The dimension that holds the batch; None for what is the same in every example, or a fixed batch of one."""
        return next((place for place, dim in enumerate(self.dims) if 0 in dim), None)

    @property
    def repeats(self) -> bool:
        """Some dimension only repeats."""
        return any(axis < 0 for dim in self.dims for axis in dim)


def product(sizes: Iterable[Size]) -> Size:
    """Product of sizes, at most one of which has the batch in it.

    >>> str(product([Many(1), 3, 4]))
    '12*n'
    """
    listed = list(sizes)
    plain = prod(size for size in listed if isinstance(size, int))
    many = [size for size in listed if isinstance(size, Many)]
    return Many(plain * prod(size.factor for size in many)) if many else plain


def seen(value: str, shape: Shape, dims: Sequence[Sequence[int]] | None = None) -> Ref:
    """A value of `shape`, each dimension of the model being the given places of that shape; by default one
    each."""
    places = [(place,) for place in range(len(shape))] if dims is None else dims
    kept = [0, *(place for place in range(1, len(shape)) if shape[place] != 1)]
    number = {place: axis for axis, place in enumerate(kept)}
    return Ref(
        value=value,
        axes=tuple(shape[place] for place in kept),
        dims=tuple(tuple(number[place] for place in dim if place in number) for dim in places),
    )


def groups_of(shape: Shape, axes: Shape) -> list[list[int]]:
    """The axes of every dimension of a value of `shape`.

    >>> groups_of((Many(), 1, 12, 5), (Many(), 3, 4, 5))
    [[0], [], [1, 2], [3]]
    """
    groups, axis = [[0]], 1
    for size in shape[1:]:
        group: list[int] = []
        while product(axes[place] for place in group) != size:
            group.append(axis)
            axis += 1
        groups.append(group)
    return groups


class _Axis:
    def __init__(self, size: Size, *, batch: bool = False) -> None:
        self.size, self.batch = size, batch


def viewed(ref: Ref, sizes: Shape) -> Ref | None:
    """`ref` as another shape of as many elements, splitting axes where needed; None where axes that do not lie side by side
    would have to become one, or the batch be split."""
    lying = [_Axis(size, batch=axis == 0) for axis, size in enumerate(ref.axes)]
    flat = [lying[axis] for dim in ref.dims for axis in dim]
    found: list[list[_Axis]] = []
    for size in sizes:
        group: list[_Axis] = []
        want, many = (size.factor, True) if isinstance(size, Many) else (size, False)
        if size == 1 and flat and flat[0].batch and flat[0].size == 1:
            group.append(flat.pop(0))
        while want > 1 or many:
            if not flat:
                return None
            axis = flat[0]
            if isinstance(axis.size, Many):
                if not many:
                    return None
                many = False
            elif want % axis.size == 0 and axis.size <= want:
                want //= axis.size
            elif axis.size % want == 0 and want > 1 and not axis.batch:
                outer, inner = _Axis(want), _Axis(axis.size // want)
                place = lying.index(axis)
                lying[place : place + 1] = [outer, inner]
                flat[0:1] = [outer, inner]
                axis, want = outer, 1
            else:
                return None
            group.append(axis)
            flat.pop(0)
        found.append(group)
    if any(axis.size != 1 for axis in flat):
        return None
    number = {id(axis): place for place, axis in enumerate(lying)}
    return replace(
        ref,
        axes=tuple(axis.size for axis in lying),
        dims=tuple(tuple(number[id(axis)] for axis in group) for group in found),
    )


def runs_of(order: Sequence[int], lying: Sequence[Sequence[int]]) -> list[list[int]]:
    """`order` in found that move as a whole: the dimensions as they lie where they stay together, else neighbouring axes joined."""
    starts = {group[0]: list(group) for group in lying}
    found: list[list[int]] = []
    rest = list(order)
    while rest and rest[0] in starts and rest[: len(starts[rest[0]])] == starts[rest[0]]:
        found.append(starts[rest[0]])
        rest = rest[len(found[-1]) :]
    if not rest:
        return found
    runs: list[list[int]] = []
    for axis in order:
        if runs and axis == runs[-1][-1] + 1 and axis != 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    return runs


def parts(dim: Sequence[int]) -> list[list[int]]:
    """The axes of a dimension beside the batch: those before it and those after it.

    >>> parts((0, 3, 4)), parts((2, 0)), parts((0,))
    ([[3, 4]], [[2]], [])
    """
    if 0 not in dim:
        return [list(dim)] if dim else []
    place = list(dim).index(0)
    return [list(part) for part in (dim[:place], dim[place + 1 :]) if part]


def moved(ref: Ref, order: Sequence[int]) -> Ref:
    """The dimensions in another order."""
    return replace(ref, dims=tuple(ref.dims[place] for place in order))
