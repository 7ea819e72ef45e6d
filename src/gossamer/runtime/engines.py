"""The two engines behind one small protocol: the native library, and the NumPy reference."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import FileError, FormatError, GossamerError, GraphError, RuntimeFailure
from gossamer.formats import container, packed_file
from gossamer.graph import Network, Node, strict_json
from gossamer.graph.strict_json import Json
from gossamer.runtime import memory
from gossamer.runtime.costs import Row, reference_rows
from gossamer.runtime.reference import ReferenceExecutor
from gossamer.runtime.states import States

Inputs: TypeAlias = dict[str, NDArray[np.generic]]
Arrays: TypeAlias = dict[str, NDArray[np.float32]]


class Engine(Protocol):
    """Runs the network of one file on checked inputs; inputs that are states may be missing, and are then those kept."""

    name: str
    manifest: Mapping[str, Json]

    def run(self, inputs: Inputs, batch: int, length: int) -> Arrays:
        """Outputs by name."""

    def profile(self, inputs: Inputs, batch: int, length: int) -> list[Row]:
        """Rows of one run, with seconds."""

    def reset(self) -> None:
        """States become zero."""

    def describe(self) -> dict[str, Any]:
        """isa, threads, arena_bytes, weight_bytes, remarks, layers."""


class NativeEngine:
    """The native library; its errors become ours."""

    name = "native"

    def __init__(
        self,
        module: ModuleType,
        source: str | Path | bytes,
        *,
        threads: int,
        max_batch: int,
        isa: str,
        max_bytes: int,
        tune: bool,
        pin: bool,
    ) -> None:
        self._module = module
        self._where = "" if isinstance(source, bytes) else f"{source}: "
        try:
            file = module.File(source if isinstance(source, bytes) else str(source))
            self._session = module.Session(file, threads, max_batch, isa, max_bytes, tune, pin)
        except module.Error as error:
            if error.kind == module.KINDS["format"]:
                self._where += container.not_packed(_begin(source))
            raise self._translated(error) from None
        except ValueError as error:  # a path with a NUL
            raise FileError(f"expected a readable packed file, got {str(source)!r}: {error}") from None
        found = strict_json.loads(file.manifest)
        assert isinstance(found, dict)
        self.manifest: Mapping[str, Json] = found
        network = Network.from_json(found["network"])
        self._inputs = [item.name for item in network.inputs]
        self._outputs = [item.name for item in network.outputs]

    def run(self, inputs: Inputs, batch: int, length: int) -> Arrays:
        """One call of the native library."""
        try:
            results = self._session.run([inputs.get(name) for name in self._inputs], batch, length)
        except self._module.Error as error:
            raise RuntimeFailure(str(error)) from None
        return dict(zip(self._outputs, results, strict=True))

    def profile(self, inputs: Inputs, batch: int, length: int) -> list[Row]:
        """One profiled call."""
        try:
            self._session.profile([inputs.get(name) for name in self._inputs], batch, length)
        except self._module.Error as error:
            raise RuntimeFailure(str(error)) from None
        rows: list[Row] = self.describe()["layers"]
        return rows

    def reset(self) -> None:
        """The native library's states."""
        self._session.reset()

    def describe(self) -> dict[str, Any]:
        """The native description."""
        found: dict[str, Any] = json.loads(self._session.describe())
        return found

    def _translated(self, error: Exception) -> GossamerError:
        kinds: Mapping[str, int] = self._module.KINDS
        kind = getattr(error, "kind", None)
        if kind == kinds["io"]:
            return FileError(str(error))  # names the path itself
        if kind == kinds["format"]:
            return FormatError(f"{self._where}{error}")
        return GraphError(f"{self._where}{error}") if kind == kinds["graph"] else RuntimeFailure(str(error))


def _begin(source: str | Path | bytes) -> bytes:
    """The first bytes of a file that was refused, to say what it is instead; nothing where they cannot be read."""
    if isinstance(source, bytes):
        return source[: container.MAX_LOOK]
    try:
        with Path(source).open("rb") as file:
            return file.read(container.MAX_LOOK)
    except OSError:
        return b""


class ReferenceEngine:
    """The NumPy executor. NumPy decides on threads by itself."""

    name = "reference"

    def __init__(self, source: str | Path | bytes, *, max_bytes: int | None) -> None:
        file = packed_file.read(source)
        network, weights = file.manifest.network, file.weights
        self.manifest: Mapping[str, Json] = file.manifest.to_json(
            packed_file.table(weights), version=file.version
        )
        self._rows = reference_rows(network, weights)
        self._executor = ReferenceExecutor(network, weights, max_bytes=max_bytes)
        self._states = States(network)
        batch, length = (
            network.dims[symbol].min if symbol else 1 for symbol in (network.batch, network.length)
        )
        memory.check(
            network, weights, batch=batch, length=length, max_bytes=max_bytes
        )  # a run that no batch allows is told now

    def run(self, inputs: Inputs, batch: int, length: int) -> Arrays:
        """Every node in turn."""
        return self._run(inputs, batch, length, None)

    def profile(self, inputs: Inputs, batch: int, length: int) -> list[Row]:
        """Every node in turn, timed."""
        marks: list[float] = []

        def mark(node: Node | None) -> None:
            marks.append(time.perf_counter())

        self._run(inputs, batch, length, mark)
        return [
            {**row, "seconds": after - before}
            for row, before, after in zip(self._rows, marks, marks[1:], strict=False)
        ]

    def reset(self) -> None:
        """States become zero."""
        self._states.reset()

    def _run(
        self, inputs: Inputs, batch: int, length: int, mark: Callable[[Node | None], None] | None
    ) -> Arrays:
        self._executor.prepare(batch, length)
        with self._states.filled(inputs, batch) as (filled, keep):
            if mark:
                mark(None)
            outputs = self._executor.run(filled, mark)
            keep(outputs)
        return outputs

    def describe(self) -> dict[str, Any]:
        """Same keys as the native description."""
        return {
            "isa": "numpy",
            "threads": 1,
            "arena_bytes": 0,
            "weight_bytes": sum(row["bytes"] for row in self._rows),
            "remarks": [],
            "layers": [dict(row) for row in self._rows],
        }
