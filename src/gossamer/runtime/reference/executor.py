"""Runs the nodes of a network one after the other."""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import RuntimeFailure
from gossamer.formats import PackedMatrix, unpack
from gossamer.graph import Length, Network, Node, length_at
from gossamer.runtime import memory
from gossamer.runtime.reference import combining, functions, images, moving, products, recurrent, reducing
from gossamer.runtime.reference.base import Call, Floats, Mask, Run

OPERATIONS: dict[str, Run] = {
    **products.OPERATIONS,
    **functions.OPERATIONS,
    **combining.OPERATIONS,
    **reducing.OPERATIONS,
    **images.OPERATIONS,
    **moving.OPERATIONS,
    **recurrent.OPERATIONS,
}
MAX_INTEGER = 2**24  # what float32 holds exactly


class ReferenceExecutor:
    """Runs a checked network: `run(inputs)` gives the value of every output, both by name."""

    def __init__(
        self, network: Network, weights: Mapping[str, PackedMatrix], *, max_bytes: int | None = None
    ) -> None:
        self._network = network
        self._packed = weights
        self._max_bytes = max_bytes

    @cached_property
    def _weights(self) -> Mapping[str, tuple[Floats, Mask | None]]:
        """Dense with masks, made by the first run: an input that fits justifies the memory, a file's word does not."""
        unpacked = {name: unpack(weight) for name, weight in self._packed.items()}
        return {name: (values, None if mask.all() else mask) for name, (values, mask) in unpacked.items()}

    def prepare(self, batch: int, length: int = 0) -> None:
        """What a run needs once; RuntimeFailure where a run of that batch and length would not fit into memory or breaks a rule."""
        memory.check(self._network, self._packed, batch=batch, length=length, max_bytes=self._max_bytes)
        assert self._weights.keys() == self._packed.keys()

    def run(
        self, inputs: Mapping[str, NDArray[np.generic]], on_node: Callable[[Node], None] | None = None
    ) -> dict[str, Floats]:
        """`inputs` by name, of checked dtypes and shapes. `on_node` is called after every node."""
        network = self._network
        length = self._length(inputs)
        last_use = {value: index for index, node in enumerate(network.nodes) for value in node.inputs}
        wanted = {output.value for output in network.outputs}
        values = {name: _floats(name, value) for name, value in inputs.items()}
        for index, node in enumerate(network.nodes):
            with np.errstate(all="ignore"):  # infinity and NaN are values like others
                results = OPERATIONS[node.op](self._call(node, values, length))
            several = results if isinstance(results, tuple) else (results,)
            for name, result in zip(node.outputs, several, strict=True):
                values[name] = np.ascontiguousarray(result, dtype=np.float32)
            for name in {*node.inputs, *node.outputs}:
                if last_use.get(name, index) == index and name not in wanted:
                    del values[name]
            if on_node:
                on_node(node)
        return {output.name: values[output.value].copy() for output in network.outputs}

    def _length(self, inputs: Mapping[str, NDArray[np.generic]]) -> Length:
        sizes = {
            size: found
            for item in self._network.inputs
            for size, found in zip(item.shape, inputs[item.name].shape, strict=True)
            if isinstance(size, str)
        }
        return length_at(self._network, sizes)

    def _call(self, node: Node, values: Mapping[str, Floats], length: Length) -> Call:
        stored = {role: self._weights[name] for role, name in node.weights.items()}
        return Call(
            node=node,
            inputs=[values[name] for name in node.inputs],
            weights={role: weight for role, (weight, _) in stored.items()},
            masks={role: mask for role, (_, mask) in stored.items() if mask is not None},
            length=length,
        )


def _floats(name: str, value: NDArray[np.generic]) -> Floats:
    if value.dtype != np.float32:
        odd = value[(value > MAX_INTEGER) | (value < -MAX_INTEGER)]  # type: ignore[operator]
        if odd.size:
            raise RuntimeFailure(
                f"input {name!r}: expected integers of magnitude at most 2^24, got {odd.flat[0]}"
            )
    return value.astype(np.float32, copy=False)
