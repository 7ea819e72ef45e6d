"""A weight of the network while it is lowered: a plain array, or the kept values of a compact layer and their places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the kept values of a compact weight stand: slots row * columns + column, ascending; `pattern` says how they were chosen."""

    shape: tuple[int, int]
    slots: npt.NDArray[np.int64]
    pattern: str


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight of a node. values: matrix [rows, columns] or vector [n], or the kept values [k] of a matrix at `places`; mask: True = kept,
    None = all kept; of_model: a weight that the model has, not one that lowering made (a choice of channels)."""

    name: str
    values: Array
    mask: Mask | None = None
    only_dense: bool = False
    of_model: bool = True
    places: Places | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix or vector."""
        return self.values.shape if self.places is None else self.places.shape

    def scaled(self, scale: Array) -> Weight:
        """With every row of the matrix times its entry of `scale` [rows], in float64; where it is compact, its kept values alone."""
        factor = scale[:, None] if self.places is None else scale[self.places.slots // self.places.shape[1]]
        return replace(self, values=self.values.astype(np.float64) * factor)


def sibling(name: str, role: str) -> str:
    """Name of another weight of the same layer.

    >>> sibling("layer1.0.conv1.weight", "bias")
    'layer1.0.conv1.bias'
    """
    return f"{name.removesuffix('.weight')}.{role}"
