"""Runs packed files. NumPy only; the native library is loaded by the first `load`."""

from gossamer.runtime.preprocess import image_input
from gossamer.runtime.session import Session, load

__all__ = ["Session", "load", "image_input"]
