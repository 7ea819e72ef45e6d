"""What is measured: one network in two forms, packed and dense.

Dense engines get the dense twin. Where only the packed file is known, its twin is the same network with
every absent weight stored as a zero: dense engines do not look at values, so their latency is that of the
dense network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.errors import RuntimeFailure
from gossamer.formats import unpack
from gossamer.formats.packed_file import PackedFile, read
from gossamer.graph import Network, Node, WeightInfo, infer_shapes


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Files and data that the engines are measured on.

    packed: the sparse packed file. dense: packed file of the dense twin, or None for `packed` itself with
    its zeros stored. calibration: float32 [n, ...] real inputs of the first input, for engines that
    quantize; None takes random ones.
    """

    packed: Path
    dense: Path | None = None
    calibration: np.ndarray | None = None

    @property
    def dense_path(self) -> Path:
        """The file that dense engines read."""
        return self.dense if self.dense is not None else self.packed


@dataclass(frozen=True, kw_only=True)
class DenseNetwork:
    """A network with every weight as a dense float32 array, by weight name."""

    network: Network
    weights: dict[str, np.ndarray]

    @classmethod
    def of(cls, path: Path) -> DenseNetwork:
        """Read a packed file and unpack every weight; the last one read is kept, because every engine asks for it."""
        stamp = path.stat() if path.is_file() else None
        return _read(path, None if stamp is None else (stamp.st_mtime_ns, stamp.st_size))

    def checked_batch(self, batch: int) -> int:
        """`batch`, or the network's own where it fixes one. RuntimeFailure outside of the file's range."""
        first = self.network.inputs[0].shape[0]
        if not isinstance(first, str):
            return first
        dim = self.network.dims[first]
        if not dim.min <= batch <= dim.max:
            raise RuntimeFailure(f"batch: expected {dim.min} to {dim.max}, as the file allows, got {batch}")
        return batch

    def sizes(self, batch: int) -> dict[str, int]:
        """Free dimensions: the batch, which stands in first places, and a length, taken at its largest."""
        first = {value.shape[0] for value in self.network.inputs}
        return {name: batch if name in first else dim.max for name, dim in self.network.dims.items()}

    @property
    def length(self) -> int | None:
        """The length that is measured where it is free: the largest."""
        first = {value.shape[0] for value in self.network.inputs}
        return next((dim.max for name, dim in self.network.dims.items() if name not in first), None)

    def input_shapes(self, batch: int) -> list[tuple[int, ...]]:
        """Concrete shapes of the inputs; a network with a fixed batch keeps its own."""
        sizes = self.sizes(batch)
        return [
            tuple(sizes[size] if isinstance(size, str) else size for size in value.shape)
            for value in self.network.inputs
        ]

    def ports(self, batch: int) -> list[Port]:
        """What inputs must look like, in the network's order."""
        shapes = self.input_shapes(batch)
        return [
            Port(shape=shape, high=self._vocabulary(value.name) if value.dtype == "int64" else 0)
            for value, shape in zip(self.network.inputs, shapes, strict=True)
        ]

    def _vocabulary(self, value: str) -> int:
        """Rows of the smallest table that is indexed with this input; 2 (a mask) where there is none."""
        tables = [
            self.weights[node.weights["weight"]].shape[0]
            for node in self.network.nodes
            if node.op == "embedding" and node.inputs[0] == value
        ]
        return min(tables, default=2)

    def value_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Concrete shape of every value."""
        weights = {name: WeightInfo(shape=weight.shape) for name, weight in self.weights.items()}
        return infer_shapes(self.network, weights, self.sizes(batch))

    def conv_weight(self, name: str, kernel: tuple[int, int]) -> np.ndarray:
        """Weight of a convolution as [O, I/groups, kh, kw], from its matrix [O, kh*kw*I/groups]."""
        matrix = self.weights[name]
        return np.ascontiguousarray(matrix.reshape(matrix.shape[0], *kernel, -1).transpose(0, 3, 1, 2))


@lru_cache(maxsize=1)
def _read(path: Path, stamp: tuple[int, int] | None) -> DenseNetwork:
    del stamp  # a file that was written anew is another one
    packed: PackedFile = read(path)
    weights = {name: unpack(weight)[0] for name, weight in packed.weights.items()}
    return DenseNetwork(network=packed.manifest.network, weights=weights)


def attributes_of(node: Node) -> dict[str, Any]:
    """A node's attributes as the plain values that the validated network guarantees."""
    return dict(node.attributes)


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input of a concrete shape. high: whole numbers 0..high-1 are wanted there; 0: any float32."""

    shape: tuple[int, ...]
    high: int = 0


def random_inputs(ports: Sequence[Port | tuple[int, ...]], seed: int) -> list[np.ndarray]:
    """Normal float32 inputs, uniform int64 ones where indices are wanted; the same for every engine. A bare shape is a float32 port.

    >>> [array.dtype.name for array in random_inputs([Port(shape=(1, 3), high=5), (1, 3)], seed=0)]
    ['int64', 'float32']
    """
    generator = np.random.default_rng(seed)
    inputs: list[np.ndarray] = []
    for item in ports:
        port = item if isinstance(item, Port) else Port(shape=item)
        inputs.append(
            generator.integers(0, port.high, port.shape)
            if port.high
            else generator.standard_normal(port.shape, dtype=np.float32)
        )
    return inputs
