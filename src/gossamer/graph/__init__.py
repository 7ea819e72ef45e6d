"""Torch-free description of a network and of the manifest around it."""

from gossamer.graph.manifest import FORMAT_VERSION, ImagePreprocessing, Manifest
from gossamer.graph.network import FreeDim, Input, Network, Node, Output, State
from gossamer.graph.operators import OPERATORS, Length, Operator, Role, Shape, Site
from gossamer.graph.validate import ValueShapes, WeightInfo, WeightLike, infer_shapes, length_at, validate

__all__ = [
    "Network", "Node", "Input", "Output", "State", "FreeDim", "Manifest", "ImagePreprocessing", "FORMAT_VERSION",
    "validate", "infer_shapes", "length_at", "ValueShapes", "WeightInfo", "WeightLike",
    "OPERATORS", "Operator", "Role", "Shape", "Length", "Site",
]  # fmt: skip
