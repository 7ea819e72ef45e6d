"""`load` a packed file, `run` it: the Python face of the runtime. Needs NumPy and, to be fast, one small native library."""

import warnings
from collections.abc import Mapping
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import GraphError, RuntimeFailure
from gossamer.graph import ImagePreprocessing, Input, Network, Output, State
from gossamer.graph.strict_json import Json
from gossamer.kernels import native
from gossamer.runtime.costs import Row
from gossamer.runtime.engines import Engine, NativeEngine, ReferenceEngine
from gossamer.runtime.inputs import prepare
from gossamer.runtime.threads import check_threads

EngineName = Literal["auto", "native", "reference"]


class Session:
    """A packed file, ready to run. Calls from several threads are safe; the native engine runs them one after the other.

    A session works after a fork too (its threads start anew in the child), but it cannot be pickled: send the path.
    """

    def __init__(self, engine: Engine, *, max_batch: int | None) -> None:
        self._engine = engine
        self._max_batch = max_batch
        self.manifest: Mapping[str, Json] = engine.manifest
        """The manifest as JSON values."""
        self._network = Network.from_json(self.manifest["network"])
        symbol = self._network.batch
        if symbol is not None and max_batch is not None:
            dim = self._network.dims[symbol]
            if not dim.min <= max_batch <= dim.max:
                raise RuntimeFailure(
                    f"max_batch: expected {dim.min} to {dim.max} (the range of {symbol}), got {max_batch}"
                )

    @property
    def engine(self) -> str:
        """ "native" or "reference"."""
        return self._engine.name

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Names, shapes and dtypes; a symbol in the first place is the batch, in another place the length."""
        return self._network.inputs

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Names of what `run` returns."""
        return self._network.outputs

    @property
    def states(self) -> tuple[State, ...]:
        """Inputs that may be left out, and the outputs that the session keeps for them."""
        return self._network.states

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, where the file has any."""
        found = self.manifest.get("labels")
        return tuple(str(label) for label in found) if isinstance(found, list) else None

    @property
    def preprocessing(self) -> ImagePreprocessing | None:
        """How images become inputs, where the file says so; GraphError where the block fits no input of the network."""
        found = self.manifest.get("preprocessing")
        if found is None:
            return None
        block = ImagePreprocessing.from_json(found)
        image = (block.channels, *block.size)
        if all(item.shape[1:] != image for item in self.inputs):
            raise GraphError(
                f"preprocessing: expected the shape of an input, {[list(item.shape) for item in self.inputs]}, got {list(image)}"
            )
        return block

    def run(self, inputs: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, float32. `inputs`: one array, or one for each input by name, of the shapes and dtypes that `inputs` tells.

        Inputs that are states may be left out: the session then takes the output that it kept of the run before, at first zeros.

        RuntimeFailure names the input whose name, dtype or shape is wrong, or says that memory does not suffice.
        """
        return self._engine.run(*prepare(self._network, inputs, self._max_batch))

    def reset(self) -> None:
        """Forget the states of the runs before: they become zero."""
        self._engine.reset()

    def __call__(
        self, inputs: ArrayLike | Mapping[str, ArrayLike]
    ) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
        """The output itself where there is one, else like `run`."""
        results = self.run(inputs)
        return next(iter(results.values())) if len(results) == 1 else results

    def layers(self) -> list[Row]:
        """One row a node: name, op, kernel, reason, macs, macs_dense, num_kept, num_weights, bytes, seconds.

        The native engine adds candidates: what the layer might run as, with estimated and measured microseconds.
        """
        rows: list[Row] = self.describe()["layers"]
        return rows

    def profile(self, inputs: ArrayLike | Mapping[str, ArrayLike], repeats: int = 1) -> list[Row]:
        """The rows of `layers` with the least seconds (and milliseconds) of `repeats` runs."""
        _check_whole("repeats", repeats)
        prepared = prepare(self._network, inputs, self._max_batch)
        runs = [self._engine.profile(*prepared) for _ in range(repeats)]
        least = [min(row["seconds"] for row in rows) for rows in zip(*runs, strict=True)]
        return [
            {**row, "seconds": seconds, "milliseconds": seconds * 1e3}
            for row, seconds in zip(runs[0], least, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """Instruction set, threads, bytes of arena and weights, remarks about the plan, layers."""
        return self._engine.describe()


def load(
    path: str | Path | bytes,
    threads: int = 1,
    max_batch: int | None = None,
    engine: EngineName = "auto",
    isa: str | None = None,
    max_bytes: int | None = None,
    tune: bool = False,
    pin: bool = False,
) -> Session:
    """Read, check and plan a packed file: a path, or the file's bytes.

    `engine`: "auto" takes the native library where it can be loaded, else the slow NumPy reference with one warning.
    `max_batch` bounds the free dimension, `max_bytes` the memory (None: this machine's). Only the native engine knows `threads` and `isa`
    (which forces an instruction set): NumPy decides on threads by itself, and an `isa` is refused.
    More `threads` than CPUs of this process are refused: they would only wait for one another.

    `tune` measures what might run in each layer (some milliseconds a layer, at the sizes of this plan) and takes the fastest; what was
    measured is kept in a cache ($GOSSAMER_CACHE_DIR, $XDG_CACHE_HOME/gossamer or ~/.cache/gossamer). Without it no cache is read: plans
    then depend on the file and the arguments alone. `pin` keeps every thread but the caller's on one CPU of this process's set. The NumPy
    reference has no use for either.
    """
    if not isinstance(path, str | Path | bytes):
        raise RuntimeFailure(
            f"path: expected a path or the bytes of a packed file, got {type(path).__name__}"
        )
    _check_whole("threads", threads)
    check_threads(threads)
    for what, value in (("max_batch", max_batch), ("max_bytes", max_bytes)):
        if value is not None:
            _check_whole(what, value)
    for what, flag in (("tune", tune), ("pin", pin)):
        if not isinstance(flag, bool):
            raise RuntimeFailure(f"{what}: expected True or False, got {flag!r}")
    if isa is not None and not isinstance(isa, str):
        raise RuntimeFailure(f"isa: expected the name of an instruction set, got {isa!r}")
    if engine not in ("auto", "native", "reference"):
        raise RuntimeFailure(f'engine: expected "auto", "native" or "reference", got {engine!r}')
    status = None if engine == "reference" else native.status()
    if status is not None and status.module is not None:
        chosen: Engine = NativeEngine(
            status.module,
            path,
            threads=threads,
            max_batch=max_batch or 0,
            isa=isa or "",
            max_bytes=max_bytes or 0,
            tune=tune,
            pin=pin,
        )
        return Session(chosen, max_batch=max_batch)
    if engine == "native":
        assert status is not None
        raise RuntimeFailure(f'engine="native": {status.reason}')
    if isa is not None:
        raise RuntimeFailure(f"isa: expected None with the NumPy reference, got {isa!r}; leave it out")
    if status is not None:
        _warn_slow(status.reason)
    return Session(ReferenceEngine(path, max_bytes=max_bytes), max_batch=max_batch)


def _check_whole(what: str, value: object) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and value >= 1):  # type: ignore[operator]
        raise RuntimeFailure(f"{what}: expected an integer of at least 1, got {value!r}")


@cache
def _warn_slow(reason: str) -> None:
    warnings.warn(f"packed files run with the slow NumPy reference: {reason}", RuntimeWarning, stacklevel=3)
