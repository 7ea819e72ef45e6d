"""The operators of a packed network, one file a family; docs/formats/operators.md is their contract."""

from gossamer.graph.operators.activation import GELU, RELU, RELU6, SIGMOID, SILU, SOFTMAX
from gossamer.graph.operators.base import Operator, Role, Shape
from gossamer.graph.operators.matrix import CONV2D, LINEAR
from gossamer.graph.operators.merging import ADD, CONCAT
from gossamer.graph.operators.normalization import CHANNEL_AFFINE, LAYER_NORM
from gossamer.graph.operators.pooling import ADAPTIVE_AVG_POOL2D, AVG_POOL2D, MAX_POOL2D
from gossamer.graph.operators.reshaping import FLATTEN

_ALL = (
    CONV2D, LINEAR, CHANNEL_AFFINE, LAYER_NORM, RELU, RELU6, SILU, SIGMOID, GELU, SOFTMAX, ADD, CONCAT,
    MAX_POOL2D, AVG_POOL2D, ADAPTIVE_AVG_POOL2D, FLATTEN,
)  # fmt: skip
OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _ALL}

__all__ = ["OPERATORS", "Operator", "Role", "Shape"]
