"""ONNX files as input of packing (docs/how-to/pack-an-onnx-file.md). Needs the packages `onnx` and NumPy, no torch.

reader: file -> plain data; walk and lower/: nodes -> draft, at concrete sizes; packing: the whole way, with free sizes by
gossamer.export.length and patterns that exporters write out by gossamer.export.fuse.
"""

from gossamer.export.onnx.packing import pack_onnx
from gossamer.export.onnx.sizes import input_names

__all__ = ["input_names", "pack_onnx"]
