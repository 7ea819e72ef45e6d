"""The operators of a packed network, one file a family; docs/formats/operators.md is their contract."""

from gossamer.graph.operators.activation import FUNCTIONS, GELU, RELU, RELU6, SIGMOID, SILU, SOFTMAX
from gossamer.graph.operators.base import Length, Operator, Role, Shape, Site
from gossamer.graph.operators.elementwise import ADD, COMBINATIONS
from gossamer.graph.operators.matrix import CONV2D, LINEAR
from gossamer.graph.operators.merging import CONCAT
from gossamer.graph.operators.normalization import CHANNEL_AFFINE, GROUP_NORM, LAYER_NORM, RMS_NORM
from gossamer.graph.operators.pooling import ADAPTIVE_AVG_POOL2D, AVG_POOL2D, MAX_POOL2D
from gossamer.graph.operators.products import ATTENTION, EMBEDDING, MATMUL
from gossamer.graph.operators.recurrent import GRU, LSTM
from gossamer.graph.operators.reducing import REDUCTIONS
from gossamer.graph.operators.resampling import PIXEL_SHUFFLE, UPSAMPLE
from gossamer.graph.operators.reshaping import FLATTEN, MOVES

_ALL = (
    CONV2D, LINEAR, CHANNEL_AFFINE, LAYER_NORM, RELU, RELU6, SILU, SIGMOID, GELU, SOFTMAX, ADD, CONCAT,
    MAX_POOL2D, AVG_POOL2D, ADAPTIVE_AVG_POOL2D, FLATTEN,
    *FUNCTIONS, *COMBINATIONS, *REDUCTIONS, RMS_NORM, GROUP_NORM, *MOVES, PIXEL_SHUFFLE, UPSAMPLE,
    MATMUL, ATTENTION, EMBEDDING, LSTM, GRU,
)  # fmt: skip
OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _ALL}

__all__ = ["OPERATORS", "Length", "Operator", "Role", "Shape", "Site"]
