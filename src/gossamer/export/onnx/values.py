"""Values as ONNX sees them, over values of the packed network that have the batch first.

ONNX puts the batch anywhere and multiplies it with other sizes ([T, N, K] of recurrent layers, [N heads, T, K] of
attention). A `Ref` says how ONNX's dimensions lie over those of the network: transpositions are remembered
and written down only where an operation needs them, so pairs that cancel (around the convolutions of NHWC
models) vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from gossamer.export.draft import Unsupported

Sizes = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A value that depends on the input.

    value: its name in the draft. dims: sizes before ONNX multiplied some of them; dims[i] is dimension order[i] of
    the draft's value, whose dimension 0 is the batch. group: dims[group[0] : group[1]] are one dimension for
    ONNX; the batch is among them.
    """

    value: str
    dims: Sizes
    order: tuple[int, ...]
    group: tuple[int, int]

    @property
    def shape(self) -> Sizes:
        """As ONNX sees it.

        >>> Ref(value="v", dims=(2, 3, 5), order=(0, 1, 2), group=(0, 2)).shape
        (6, 5)
        """
        first, last = self.group
        return (*self.dims[:first], prod(self.dims[first:last]), *self.dims[last:])

    @property
    def rank(self) -> int:
        """Number of dimensions that ONNX sees."""
        return len(self.dims) - (self.group[1] - self.group[0]) + 1

    @property
    def batch(self) -> int:
        """Place of the batch in `dims`."""
        return self.order.index(0)

    @property
    def is_plain(self) -> bool:
        """Whether ONNX and the network see the same."""
        return self.order == tuple(range(len(self.dims))) and self.group == (0, 1)

    def place(self, axis: int) -> int:
        """Place in `dims` of ONNX's dimension `axis`, which must not be that of the batch."""
        axis %= self.rank
        first, last = self.group
        if axis == first:
            raise Unsupported(
                f"an operation along the batch (dimension {axis} of {list(self.shape)})",
                "operations along other dimensions; the first dimension of the first input is the batch",
            )
        return axis if axis < first else axis + last - first - 1

    def net_axis(self, axis: int) -> int:
        """Dimension of the draft's value that is ONNX's dimension `axis`."""
        return self.order[self.place(axis)]


@dataclass(frozen=True, kw_only=True)
class Const:
    """An array that does not depend on the input. name: of the initializer that it is, maybe in another order or shape."""

    array: np.ndarray
    name: str | None = None


Entry = Ref | Const


def plain(value: str, shape: Sizes) -> Ref:
    """A value that ONNX sees as the network does."""
    return Ref(value=value, dims=shape, order=tuple(range(len(shape))), group=(0, 1))


def transposed(ref: Ref, axes: tuple[int, ...]) -> Ref:
    """ONNX's Transpose: no work, only another order.

    >>> transposed(plain("v", (2, 3, 4)), (1, 0, 2)).order
    (1, 0, 2)
    """
    first, last = ref.group
    blocks = [[place] for place in range(len(ref.dims))]
    blocks = [*blocks[:first], list(range(first, last)), *blocks[last:]]
    places = [place for axis in axes for place in blocks[axis]]
    start = places.index(first)
    return Ref(
        value=ref.value,
        dims=tuple(ref.dims[place] for place in places),
        order=tuple(ref.order[place] for place in places),
        group=(start, start + last - first),
    )


def reshaped_dims(ref: Ref, target: Sizes) -> tuple[Sizes, int, tuple[int, int]]:
    """How `target` lies over a settled `ref`: new dims, place of the batch, group.

    >>> reshaped_dims(plain("v", (2, 12, 5)), (24, 5))
    ((2, 12, 5), 0, (0, 2))
    >>> reshaped_dims(plain("v", (2, 12, 5)), (2, 3, 4, 5))
    ((2, 3, 4, 5), 0, (0, 1))
    """
    batch, before = ref.dims[ref.batch], prod(ref.dims[: ref.batch])
    after = prod(ref.dims[ref.batch + 1 :])
    exact = [j for j in range(len(target)) if prod(target[:j]) == before and target[j] == batch]
    if exact:
        return target, exact[0], (exact[0], exact[0] + 1)
    for place, size in enumerate(target):
        outside = prod(target[:place])
        if before % outside or size % ((before // outside) * batch):
            continue
        inner = size // (before // outside) // batch
        if prod(target[place + 1 :]) * inner != after:
            continue
        parts = [*([before // outside] if before != outside else []), batch, *([inner] if inner > 1 else [])]
        at = place + (before != outside)
        return (*target[:place], *parts, *target[place + 1 :]), at, (place, place + len(parts))
    raise Unsupported(
        f"a reshape of {list(ref.shape)} to {list(target)} that takes the batch apart",
        "reshapes that keep the batch whole",
    )
