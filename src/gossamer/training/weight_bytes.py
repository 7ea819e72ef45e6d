"""Bytes of one weight, and of all weights of a network, by kind: a formula of shapes and counts.

With N entries of a weight, n of them held, b bytes a value and q tensors of state in the optimizer:

    dense     b N (1 + 1 + q)                              weights, gradients, optimizer state
    masked    b N (1 + 1 + q) + 2 N                        a bool mask and its complement (one of them where nothing is dropped)
    compact   b n (1 + 1 + q) + places(n)                  held are the values of the peak: n = peak count of the layer

    by row      s(n) = 4 (R' + 1) + w m                    starts of rows and columns; [R, C] are R' x C' blocks, of which m are held
    linear      places(n) = s(n) + 4 (R' + 1) + 4 (P + 1) R' + 4 (B + 1) + 4 B (C' + 1) + 4 m
    convolution places(n) = s(n) + 4 (R' + 1)

w is the width of a column: 2 bytes up to 65,536 of them, otherwise 4. The places stand by row in the layer, so that they are saved with
it; the structure that the kernels read borrows the columns and has its own starts of rows. There a linear layer also has them cut into P
parts of columns, and by column in B bands of rows, for the product with the transposed matrix; a convolution goes by row both ways.

This is the accounting of MEST (Yuan et al., NeurIPS 2021), (1 - s + q_t) N b (1 + 1 + q) + index, with the index as it is stored here and
with optimizer state, biases, norms and activations, which the paper's table leaves out.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.patterns import Block, parse_pattern

Storage = Literal["dense", "masked", "compact"]
STORAGES: tuple[Storage, ...] = ("dense", "masked", "compact")

_SHORT = 65536  # so many columns have 16-bit indices
_TILES = 1024  # native/training_matrix.h: tiles of lanes that stay in the second-level cache (kBlockBytes / kTileBytes)
_BAND_ENTRIES = 24  # entries of a column that a band of rows should have, where the cache has room for it
BIRTH_BYTES = 4  # int32, the step at which a weight was grown, where Adam counts the steps of each
BIRTH_TENSORS = 3
"""float32 tensors that hold these and their list (below) of a compact weight: 10 bytes an entry."""
_LISTED_PLACE, _LISTED_STEP = 4, 2
"""Bytes of a recently grown weight in Adam's list: an index a dimension, and which step."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes by kind. `optimizer`: state tensors, and the step counts of grown weights with their list. `indices`: masks, or the places of
    kept values."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    indices: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.indices + self.activations

    def __add__(self, other: "Memory") -> "Memory":
        mine, theirs = asdict(self), asdict(other)
        return Memory(**{kind: mine[kind] + theirs[kind] for kind in mine})

    def to_dict(self) -> dict[str, int]:
        """Bytes by kind and their sum, ready for JSON."""
        return {**asdict(self), "total": self.total}


def layer_memory(
    shape: tuple[int, int],
    num_kept: int,
    *,
    storage: Storage,
    states: int = 0,
    value_bytes: int = 4,
    block: tuple[int, int] = (1, 1),
    trains: bool = True,
    counts_births: bool = False,
    linear: bool = True,
) -> Memory:
    """Bytes of one weight whose matrix has this `shape`, with `states` optimizer tensors of the weight's shape.

    `num_kept` are the entries that compact storage holds: the peak count where a method grows above its target. counts_births: the
    method grows and the optimizer is Adam, so every held entry has a step count, and recently grown ones are listed: all of them at the
    most, which is what counts here. linear: False for a convolution.

    >>> layer_memory((100, 200), 2000, storage="dense", states=2).total, layer_memory((100, 200), 2000, storage="masked", states=2).total
    (320000, 360000)
    >>> layer_memory((100, 200), 2000, storage="compact", states=2)
    Memory(weights=8000, gradients=8000, optimizer=16000, indices=14420, activations=0)
    """
    numel = shape[0] * shape[1]
    held = num_kept if storage == "compact" else numel
    if storage == "compact":
        indices = places_bytes(shape, num_kept, block, linear=linear)
    elif storage == "masked":
        indices = numel * (2 if num_kept < numel else 1)
    else:
        indices = 0
    births = 0
    if counts_births and trains and indices and num_kept < numel:
        dimensions = 1 if storage == "compact" else 2 if linear else 4
        births = BIRTH_BYTES * held + (_LISTED_PLACE * dimensions + _LISTED_STEP) * num_kept
    return Memory(
        weights=held * value_bytes,
        gradients=held * value_bytes * trains,
        optimizer=held * value_bytes * states * trains + births,
        indices=indices,
    )


def places_bytes(
    shape: tuple[int, int], num_kept: int, block: tuple[int, int] = (1, 1), *, linear: bool = True
) -> int:
    """Bytes of the places of `num_kept` entries, in the layer and in the structure that the kernels read; full capacity.

    >>> places_bytes((8, 6), 12, (4, 1)), places_bytes((8, 6), 12, (4, 1), linear=False)  # 3 blocks, in 2 rows of 6
    (94, 30)
    """
    rows, columns = shape[0] // block[0], shape[1] // block[1]
    blocks = num_kept // (block[0] * block[1])
    by_row = 2 * 4 * (rows + 1) + (2 if columns <= _SHORT else 4) * blocks
    if not linear:
        return by_row
    parts = max(1, math.ceil(columns / max(1, _TILES // block[1])))
    band = min(max(_BAND_ENTRIES * shape[0] * shape[1] // max(1, num_kept), _TILES // 4), _TILES)
    bands = math.ceil(rows / min(rows, max(1, band // block[0])))
    by_column = 4 * (bands + 1) + 4 * bands * (columns + 1) + 4 * blocks
    return by_row + 4 * (parts + 1) * rows + by_column


def network_memory(
    shapes: Mapping[str, LayerShape],
    counts: Mapping[str, int],
    *,
    storage: Storage = "compact",
    states: int = 0,
    value_bytes: int = 4,
    pattern: str = "unstructured",
) -> Memory:
    """Bytes of all linear and convolution weights, those left dense included: what a byte budget for the weights of a method is compared
    with. Never falls when a count rises."""
    block, total = block_of(pattern), Memory()
    for name, shape in shapes.items():
        sparse = shape.dense is None
        total += layer_memory(
            shape.matrix,
            counts[name] if sparse else shape.numel,
            storage=storage if sparse else "dense",
            states=states,
            value_bytes=value_bytes,
            block=block,
            linear=len(shape.weight) == 2,
        )
    return total


def block_of(pattern: str) -> tuple[int, int]:
    """(outputs, inputs) of the blocks in which compact storage lists the places of a pattern; (1, 1) for patterns without blocks.

    >>> block_of("block:4x1"), block_of("2:4")
    ((4, 1), (1, 1))
    """
    parsed = parse_pattern(pattern)
    return (parsed.rows, parsed.cols) if isinstance(parsed, Block) else (1, 1)
