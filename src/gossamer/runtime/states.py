"""What a session keeps between runs (docs/formats/packed-file.md, section 6)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import RuntimeFailure
from gossamer.graph import Network

Inputs: TypeAlias = dict[str, NDArray[np.generic]]
Outputs: TypeAlias = dict[str, NDArray[np.float32]]


class States:
    """The kept values of one session; runs of a network with states go one after the other."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._kept: Outputs = {}
        self._lock = Lock()

    def reset(self) -> None:
        """Every state becomes zero."""
        with self._lock:
            self._kept = {}

    @contextmanager
    def filled(self, inputs: Inputs, batch: int) -> Iterator[tuple[Inputs, Callable[[Outputs], None]]]:
        """`inputs` with the kept values of what is missing, and a function that keeps the new ones."""
        if not self._network.states:
            yield inputs, lambda outputs: None
            return
        with self._lock:
            shapes = {item.name: item.shape for item in self._network.inputs}
            missing = [state.input for state in self._network.states if state.input not in inputs]
            filled = inputs | {name: self._value(name, shapes[name], batch) for name in missing}
            yield filled, self._keep

    def _value(self, name: str, shape: tuple[int | str, ...], batch: int) -> NDArray[np.float32]:
        wanted = tuple(batch if isinstance(size, str) else size for size in shape)
        kept = self._kept.get(name)
        if kept is None:
            return np.zeros(wanted, dtype=np.float32)
        if kept.shape != wanted:
            raise RuntimeFailure(
                f"state {name!r}: expected a batch of {kept.shape[0]} like that of the runs before, got {batch}; "
                "reset() the session, or give this input"
            )
        return kept

    def _keep(self, outputs: Outputs) -> None:
        self._kept = {state.input: outputs[state.output].copy() for state in self._network.states}
