"""Bytes of one weight, and of all weights of a network, by kind: a formula of shapes and counts.

With N entries of a weight, n of them held, b bytes a value and q tensors of state in the optimizer:

    dense     b N (1 + 1 + q)                              weights, gradients, optimizer state
    masked    b N (1 + 1 + q) + 2 N                        a bool mask and its complement (one of them where nothing is dropped)
    compact   b n (1 + 1 + q) + places(n)                  held are the values of the peak: n = peak count of the layer

    places(n) = 4 (R/br + 1) + 4 (C/bc + 1) + (w(C/bc) + w(R/br) + 4) n / (br bc)      [R, C] in blocks of br x bc

w(k) is the width of an index: 2 bytes up to 65,536, otherwise 4. The places are listed by row, and by column for the product with the
transposed matrix: starts of rows, columns, starts of columns, rows, and the order that leads from one to the other.

This is the accounting of MEST (Yuan et al., NeurIPS 2021), (1 - s + q_t) N b (1 + 1 + q) + index, with the index as it is stored here and
with optimizer state, biases, norms and activations, which the paper's table leaves out.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.patterns import Block, parse_pattern

Storage = Literal["dense", "masked", "compact"]
STORAGES: tuple[Storage, ...] = ("dense", "masked", "compact")

_SHORT = 65536  # so many rows or columns have 16-bit indices
BIRTH_BYTES = 4  # int32, the step at which a weight was grown, where Adam counts the steps of each


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes by kind. `optimizer`: state tensors, and the step counts of grown weights. `indices`: masks, or the places of kept values."""

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
) -> Memory:
    """Bytes of one weight whose matrix has this `shape`, with `states` optimizer tensors of the weight's shape.

    `num_kept` are the entries that compact storage holds: the peak count where a method grows above its target. counts_births: the
    method grows and the optimizer is Adam, so every held entry has a step count.

    >>> layer_memory((100, 200), 2000, storage="dense", states=2).total, layer_memory((100, 200), 2000, storage="masked", states=2).total
    (320000, 360000)
    >>> layer_memory((100, 200), 2000, storage="compact", states=2)
    Memory(weights=8000, gradients=8000, optimizer=16000, indices=17208, activations=0)
    """
    numel = shape[0] * shape[1]
    held = num_kept if storage == "compact" else numel
    if storage == "compact":
        indices = places_bytes(shape, num_kept, block)
    elif storage == "masked":
        indices = numel * (2 if num_kept < numel else 1)
    else:
        indices = 0
    births = BIRTH_BYTES * held if counts_births and trains and indices and num_kept < numel else 0
    return Memory(
        weights=held * value_bytes,
        gradients=held * value_bytes * trains,
        optimizer=held * value_bytes * states * trains + births,
        indices=indices,
    )


def places_bytes(shape: tuple[int, int], num_kept: int, block: tuple[int, int] = (1, 1)) -> int:
    """Bytes of the places of `num_kept` entries: by row, by column, and the order between the two."""
    rows, columns = shape[0] // block[0], shape[1] // block[1]
    per_block = _width(columns) + _width(rows) + 4
    return 4 * (rows + 1) + 4 * (columns + 1) + per_block * (num_kept // (block[0] * block[1]))


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
        )
    return total


def block_of(pattern: str) -> tuple[int, int]:
    """(outputs, inputs) of the blocks in which compact storage lists the places of a pattern; (1, 1) for patterns without blocks.

    >>> block_of("block:4x1"), block_of("2:4")
    ((4, 1), (1, 1))
    """
    parsed = parse_pattern(pattern)
    return (parsed.rows, parsed.cols) if isinstance(parsed, Block) else (1, 1)


def _width(count: int) -> int:
    return 2 if count <= _SHORT else 4
