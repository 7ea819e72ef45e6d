"""Export: a torch model becomes one packed file (docs/concepts/export.md). Dense torch tensors become
compact formats here."""

from gossamer.export.packing import pack
from gossamer.export.report import PackReport, Verification, WeightReport
from gossamer.export.spec import example_of, load_model, parse_shape, resolve_callable

__all__ = [
    "PackReport",
    "Verification",
    "WeightReport",
    "example_of",
    "load_model",
    "pack",
    "parse_shape",
    "resolve_callable",
]
