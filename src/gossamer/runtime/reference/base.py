"""What an operator of the reference executor sees and gives; the rest of the package is one file a family of operators."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.graph import Site

Floats: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Call(Site[Floats]):
    """A node with the values of its inputs and its weights, all dense float32."""

    masks: Mapping[str, Mask]
    """By role: which entries of a sparse weight are kept. What was dropped contributes nothing, even against NaN."""


Run: TypeAlias = Callable[[Call], Floats | tuple[Floats, ...]]


def float32(x: NDArray[np.generic]) -> Floats:
    """`x` rounded to float32."""
    return np.asarray(x, dtype=np.float32)
