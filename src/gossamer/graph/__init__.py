"""Torch-free description of a network and of the manifest around it."""

from gossamer.graph.manifest import FORMAT_VERSION, ImagePreprocessing, Manifest
from gossamer.graph.network import FreeDim, Input, Network, Node, Output
from gossamer.graph.operators import OPERATORS, Operator, Role, Shape
from gossamer.graph.validate import ValueShapes, WeightInfo, WeightLike, infer_shapes, validate

__all__ = [
    "Network", "Node", "Input", "Output", "FreeDim", "Manifest", "ImagePreprocessing", "FORMAT_VERSION",
    "validate", "infer_shapes", "ValueShapes", "WeightInfo", "WeightLike",
    "OPERATORS", "Operator", "Role", "Shape",
]  # fmt: skip
