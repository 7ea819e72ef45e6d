"""Gossamer: trains sparse neural networks and runs them fast.

This file is the table of contents. Public names and the public modules are imported when first used, so that
`import gossamer` costs nothing and needs neither torch nor the native library:

>>> import gossamer
>>> gossamer.GossamerError.__module__        # imports gossamer.errors, and no more
'gossamer.errors'
"""

from importlib import import_module
from typing import TYPE_CHECKING

from gossamer._version import __version__

if TYPE_CHECKING:  # the same names once more, for type checkers and editors; tests/test_import.py compares
    from gossamer import errors, export, formats, graph, runtime, sparsity, training, units
    from gossamer.errors import GossamerError
    from gossamer.export import pack
    from gossamer.runtime import Session, load
    from gossamer.sparsity.patterns import parse_pattern
    from gossamer.training import Protection, Sparsifier
    from gossamer.training.compact import compact_, dense_state_dict, to_dense
    from gossamer.units import Budget

_NAMES = {
    # quantities and errors
    "Budget": "gossamer.units",
    "GossamerError": "gossamer.errors",
    # train
    "Protection": "gossamer.training",
    "Sparsifier": "gossamer.training",
    "compact_": "gossamer.training.compact",
    "dense_state_dict": "gossamer.training.compact",
    "to_dense": "gossamer.training.compact",
    "parse_pattern": "gossamer.sparsity.patterns",
    # pack
    "pack": "gossamer.export",
    # run
    "Session": "gossamer.runtime",
    "load": "gossamer.runtime",
}
_MODULES = ("errors", "export", "formats", "graph", "runtime", "sparsity", "training", "units")

__all__ = [
    "Budget",
    "GossamerError",
    "Protection",
    "Session",
    "Sparsifier",
    "__version__",
    "compact_",
    "dense_state_dict",
    "errors",
    "export",
    "formats",
    "graph",
    "load",
    "pack",
    "parse_pattern",
    "runtime",
    "sparsity",
    "to_dense",
    "training",
    "units",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"gossamer.{name}")
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'gossamer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
