"""What every engine file provides: a name, `build` (what would be shipped) and `open` (what a serving
process does with it)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from gossamer.bench.subject import Subject
from gossamer.errors import MissingExtraError

Arrays = list[np.ndarray]
Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What an engine needs on disk. path: what `open` takes. bytes_on_disk: all files together. note: for
    the reader of the table."""

    path: Path
    bytes_on_disk: int
    note: str = ""


class Engine(Protocol):
    """One way to run a network. `runs_packed` tells whether it runs the packed (sparse) file or the dense
    twin."""

    name: str
    runs_packed: bool

    def build(self, subject: Subject, folder: Path, *, batch: int) -> Artifact:
        """Write (or point to) the files that this engine would be shipped with. Raises GossamerError where
        it cannot."""
        ...

    def open(self, path: Path, *, batch: int, threads: int) -> Run:
        """Load the artifact. run(inputs) -> outputs, both in the network's order; it returns fresh arrays."""
        ...


def require(module: str, engine: str) -> ModuleType:
    """Import an engine's package, or say which extra brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"engine {engine!r} needs the package {module!r}: install it with pip install 'gossamer[bench]' "
            f"or leave this engine out ({error})"
        ) from error
