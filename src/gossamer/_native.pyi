"""Gossamer's native runtime (native/module.cpp over native/capi.h): reads, checks, plans and runs packed files."""

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

KINDS: Final[dict[str, int]]  # name of an error's kind -> its code: io, format, graph, plan, argument, memory

class Error(Exception):
    """A failure of the native runtime."""

    kind: int
    message: str

class File:
    """A checked packed file; may be shared by sessions and threads."""

    def __init__(self, source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> None: ...
    @property
    def manifest(self) -> str: ...

class Session:
    """A plan of a file with its memory; calls from several threads run one after the other.

    `max_batch` 0: the network's own range. `max_bytes` 0: the machine's memory. `isa` "": the best one of this CPU. `batch` and
    `length` are the sizes of the free dimensions; a network without one ignores it. None stands for a state that the session kept.
    """

    def __init__(
        self,
        file: File,
        threads: int = 1,
        max_batch: int = 0,
        isa: str = "",
        max_bytes: int = 0,
        tune: bool = False,
        pin: bool = False,
    ) -> None: ...
    def input_shapes(self, batch: int, length: int = 0) -> list[list[int]]: ...
    def output_shapes(self, batch: int, length: int = 0) -> list[list[int]]: ...
    def run(
        self, inputs: Sequence[NDArray[np.float32] | NDArray[np.int64] | None], batch: int, length: int = 0
    ) -> list[NDArray[np.float32]]: ...
    def profile(
        self, inputs: Sequence[NDArray[np.float32] | NDArray[np.int64] | None], batch: int, length: int = 0
    ) -> list[NDArray[np.float32]]: ...
    def reset(self) -> None: ...
    def describe(self) -> str: ...

class TrainingMatrix:
    """Places of a sparse weight, prepared for the products of training; the Python class of this name checks what it is given."""

    def __init__(
        self,
        rows: int,
        cols: int,
        block_rows: int,
        block_cols: int,
        row_start: NDArray[np.uint32],
        columns: NDArray[np.uint16] | NDArray[np.uint32],
    ) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def row_start(self) -> NDArray[np.uint32]: ...
    @property
    def columns(self) -> NDArray[np.uint16] | NDArray[np.uint32]: ...
    def linear(
        self,
        values: NDArray[np.floating[Any]],
        bias: NDArray[np.floating[Any]] | None,
        x: NDArray[np.floating[Any]],
        y: NDArray[np.floating[Any]],
        threads: int,
        isa: str,
    ) -> int: ...
    def linear_backward(
        self,
        values: NDArray[np.floating[Any]],
        x: NDArray[np.floating[Any]],
        dy: NDArray[np.floating[Any]],
        dx: NDArray[np.floating[Any]] | None,
        gradient: NDArray[np.floating[Any]],
        threads: int,
        isa: str,
    ) -> int: ...
    def conv(
        self,
        values: NDArray[np.floating[Any]],
        geometry: Sequence[int],
        groups: int,
        x: NDArray[np.floating[Any]],
        y: NDArray[np.floating[Any]],
        threads: int,
        isa: str,
    ) -> int: ...
    def conv_backward(
        self,
        values: NDArray[np.floating[Any]],
        geometry: Sequence[int],
        groups: int,
        x: NDArray[np.floating[Any]],
        dy: NDArray[np.floating[Any]],
        dx: NDArray[np.floating[Any]] | None,
        gradient: NDArray[np.floating[Any]],
        threads: int,
        isa: str,
    ) -> int: ...

def build_info() -> str: ...
def project_gs(
    scores: NDArray[np.float64],
    keep: NDArray[np.uint8] | None,
    banks: int,
    per_row: int,
    bundles: int,
    mask: NDArray[np.uint8],
) -> int: ...
def spmm(
    values: NDArray[np.float32],
    row_start: NDArray[np.uint32],
    columns: NDArray[np.uint32],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    isa: str,
) -> int: ...
def spmv(
    values: NDArray[np.float32],
    row_start: NDArray[np.uint32],
    columns: NDArray[np.uint32],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    isa: str,
) -> int: ...
def peak_flops(isa: str) -> float: ...
def read_rate(data: NDArray[np.float32], isa: str) -> float: ...
