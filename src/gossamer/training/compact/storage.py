"""Where the kept entries of one weight stand, in one byte tensor of fixed size: the places of a compact layer.

The weight is a matrix [R, C] (rows = outputs, columns = inputs, of a convolution (kh, kw, c_in)). Its kept entries are listed by row:

    row_start  uint32 [R / block rows + 1]      blocks before each row of blocks; the last one is the number of blocks
    columns    uint16 or uint32 [capacity]      column of each block, ascending inside a row; what lies behind the last block is 0

A block of 1x1 is one entry. The values of a block follow one another, row-major inside the block: the *order of the structure*, which for
1x1 blocks is that of ascending positions (position = r * C + c). Both lists are views of one uint8 tensor, because gloo, which
synchronises the buffers of a model over ranks, knows no uint16 and no uint32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gossamer.errors import EngineError
from gossamer.sparsity.patterns import Block, Pattern
from gossamer.sparsity.patterns.drawing import in_place_sorted, pieces, piecewise
from gossamer.sparsity.view import matrix_shape

_LAST_16_BIT = 1 << 16
PIECE = 1 << 14  # entries; what is computed for a piece takes about 120 bytes each


@dataclass(frozen=True, kw_only=True)
class Places:
    """The arithmetic of the places of one weight. The byte tensor itself is a buffer of the layer.

    >>> places = Places(shape=(2, 6), block=(2, 1), capacity=8)
    >>> data = places.pack(torch.tensor([0, 3, 6, 9]))  # blocks of rows 0, 1 at columns 0 and 3
    >>> places.row_start(data).tolist(), places.columns(data).tolist(), places.num_kept(data)
    ([0, 2], [0, 3, 0, 0], 4)
    >>> places.positions(data).tolist()  # in the order of the structure
    [0, 6, 3, 9]
    """

    shape: tuple[int, ...]  # of the dense weight, [O, I] or [O, I, kh, kw]
    block: tuple[int, int] = (1, 1)  # rows x columns of a unit
    capacity: int  # entries that fit, a multiple of the block's size

    def __post_init__(self) -> None:
        rows, columns = self.matrix
        if min(rows, columns) < 1:
            raise EngineError(
                f"expected a weight of at least one row and one column, got {rows}x{columns}; leave out a layer that computes nothing"
            )
        if rows % self.block[0] or columns % self.block[1] or self.capacity % self.unit:
            raise EngineError(
                f"expected rows, columns and capacity in whole blocks of {self.block[0]}x{self.block[1]}, got a matrix {rows}x{columns} "
                f"and a capacity of {self.capacity}"
            )
        if self.capacity // self.unit >= 1 << 32:
            raise EngineError(
                f"expected fewer than 2^32 blocks, which row starts of 32 bits can count, got {self.capacity // self.unit}; raise the "
                "sparsity"
            )
        if not 0 <= self.capacity <= rows * columns:
            raise EngineError(
                f"expected a capacity between 0 and the {rows * columns} entries of the weight, got {self.capacity}"
            )

    @property
    def matrix(self) -> tuple[int, int]:
        return matrix_shape(self.shape)

    @property
    def unit(self) -> int:
        """Entries of a block."""
        return self.block[0] * self.block[1]

    @property
    def index_type(self) -> torch.dtype:
        return torch.uint16 if self.matrix[1] // self.block[1] <= _LAST_16_BIT else torch.uint32

    @property
    def nbytes(self) -> int:
        """Bytes of the byte tensor."""
        return 4 * (self._lines + 1) + self.index_type.itemsize * (self.capacity // self.unit)

    def row_start(self, data: Tensor) -> Tensor:
        return data[: 4 * (self._lines + 1)].view(torch.uint32)

    def columns(self, data: Tensor) -> Tensor:
        return data[4 * (self._lines + 1) :].view(self.index_type)

    def num_kept(self, data: Tensor) -> int:
        return int(self.row_start(data)[-1].item()) * self.unit

    def pack(self, positions: Tensor) -> Tensor:
        """The byte tensor of a set of positions in any order; they must be whole blocks, each entry once."""
        data = torch.zeros(self.nbytes, dtype=torch.uint8, device="cpu")
        if len(positions) > self.capacity:
            raise EngineError(
                f"expected at most {self.capacity} kept entries, the capacity of this layer, got {len(positions)}; make it with a larger "
                "capacity (compact_ takes the method's peak)"
            )
        keys = positions if self.unit == 1 else piecewise(self.keys, positions)
        if not bool((keys[1:] > keys[:-1]).all()):
            keys = in_place_sorted(keys.clone() if keys is positions else keys)
        blocks = keys if self.unit == 1 else keys[:: self.unit] // self.unit
        size = math.prod(self.matrix)
        inside = not len(positions) or (int(positions.min()) >= 0 and int(positions.max()) < size)
        distinct = bool((blocks[1:] > blocks[:-1]).all())
        whole = self.unit == 1 or all(
            torch.equal(keys[entry :: self.unit], blocks * self.unit + entry) for entry in range(self.unit)
        )
        if not (inside and distinct and whole):
            raise EngineError(
                f"expected distinct positions of whole {self.block[0]}x{self.block[1]} blocks below {size}"
            )
        per_row = self.matrix[1] // self.block[1]
        starts = torch.searchsorted(blocks, torch.arange(self._lines + 1) * per_row)
        self.row_start(data).copy_(starts)
        columns = self.columns(data)[: len(blocks)]
        for part, piece in zip(pieces(columns), pieces(blocks), strict=True):
            part.copy_(piece % per_row)
        return data

    def fill(self, data: Tensor, lines: range, before: int, positions: Tensor) -> int:
        """Writes the positions of whole blocks in some rows of blocks, after earlier rows with `before` blocks; how many there are now."""
        blocks = self.keys(positions).sort().values[:: self.unit] // self.unit
        after, per_row = before + len(blocks), self.matrix[1] // self.block[1]
        assert after * self.unit <= self.capacity
        starts = torch.searchsorted(blocks, torch.arange(lines.start, lines.stop + 1) * per_row)
        self.row_start(data)[lines.start : lines.stop + 1] = (starts + before).to(torch.uint32)
        self.columns(data)[before:after] = (blocks % per_row).to(self.index_type)
        return after

    def positions(self, data: Tensor) -> Tensor:
        """int64 positions r * C + c of the kept entries, in the order of the structure (ascending for 1x1 blocks)."""
        positions, filled = torch.empty(self.num_kept(data), dtype=torch.int64), 0
        for lines in self.ranges(data):
            part = self.positions_in(data, lines)
            positions[filled : filled + len(part)] = part
            filled += len(part)
        return positions

    def ascending(self, data: Tensor, which: Tensor | None = None) -> Tensor:
        """int64 positions of the kept entries, ascending; of `which` of them (bool [nnz], in this order)."""
        count = self.num_kept(data) if which is None else int(which.count_nonzero())
        positions, filled, seen = torch.empty(count, dtype=torch.int64), 0, 0
        for lines in self.ranges(data):
            held = self.positions_in(data, lines).sort().values
            part = held if which is None else held[which[seen : seen + len(held)]]
            positions[filled : filled + len(part)] = part
            filled, seen = filled + len(part), seen + len(held)
        return positions

    def positions_in(self, data: Tensor, lines: range) -> Tensor:
        """The same, of some rows of blocks."""
        starts = self.row_start(data)[lines.start : lines.stop + 1].to(torch.int64)
        rows = torch.repeat_interleave(torch.arange(lines.start, lines.stop), starts[1:] - starts[:-1])
        columns = self.columns(data)[int(starts[0]) : int(starts[-1])].to(torch.int64)
        (down, across), width = self.block, self.matrix[1]
        corner = rows * (down * width) + columns * across
        if self.unit == 1:
            return corner
        inside = torch.arange(down)[:, None] * width + torch.arange(across)
        return (corner[:, None] + inside.flatten()).flatten()

    def ranges(self, data: Tensor) -> Iterator[range]:
        """Consecutive rows of blocks, about PIECE entries at a time: what needs 64-bit numbers an entry is done range by range."""
        starts, first = self.row_start(data).to(torch.int64), 0
        while first < self._lines:
            end = starts[first] + max(1, PIECE // self.unit)
            last = int(torch.searchsorted(starts, end, right=True)) - 1
            last = min(max(last, first + 1), self._lines)
            yield range(first, last)
            first = last

    def bounds(self, lines: range) -> tuple[int, int]:
        """The first position of some rows of blocks, and the first one behind them."""
        size = self.block[0] * self.matrix[1]
        return lines.start * size, lines.stop * size

    def keys(self, positions: Tensor) -> Tensor:
        """A number for each position by which the structure is ordered; the position itself for 1x1 blocks."""
        if self.unit == 1:
            return positions
        (down, across), width = self.block, self.matrix[1]
        rows, columns = positions // width, positions % width
        block = rows // down * (width // across) + columns // across
        return (block * down + rows % down) * across + columns % across

    @property
    def _lines(self) -> int:
        return self.matrix[0] // self.block[0]


def block_of(pattern: Pattern) -> tuple[int, int]:
    """The blocks in which weights of this pattern are stored: those of a block pattern, else single entries."""
    return (pattern.rows, pattern.cols) if isinstance(pattern, Block) else (1, 1)


def dense_matrix(places: Places, data: Tensor, values: Tensor) -> Tensor:
    """The dense matrix [R, C], zero where nothing is kept."""
    matrix = torch.zeros(math.prod(places.matrix), dtype=values.dtype)
    positions = places.positions(data)
    matrix[positions] = values.detach()[: len(positions)]
    return matrix.reshape(places.matrix)
