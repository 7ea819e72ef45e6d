"""Export: a model becomes one packed file (docs/concepts/export.md). Dense weights become compact formats here.

Names are imported when first used: a torch model needs torch, an ONNX file does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossamer.export.arguments import parse_shape
    from gossamer.export.onnx import pack_onnx
    from gossamer.export.packing import pack
    from gossamer.export.report import PackReport, Verification, WeightReport
    from gossamer.export.spec import example_of, load_model, resolve_callable

_NAMES = {
    "PackReport": "report",
    "Verification": "report",
    "WeightReport": "report",
    "example_of": "spec",
    "load_model": "spec",
    "pack": "packing",
    "pack_onnx": "onnx",
    "parse_shape": "arguments",
    "resolve_callable": "spec",
}

__all__ = [
    "PackReport",
    "Verification",
    "WeightReport",
    "example_of",
    "load_model",
    "pack",
    "pack_onnx",
    "parse_shape",
    "resolve_callable",
]


def __getattr__(name: str) -> object:
    if name in _NAMES:
        return getattr(import_module(f"gossamer.export.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'gossamer.export' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
