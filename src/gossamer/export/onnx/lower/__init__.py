"""Lowering of ONNX nodes, one file a family of operators; operators not in the table are refused."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer.export.onnx.lower import (
    convolution,
    elementwise,
    normalization,
    pooling,
    products,
    recurrent,
    reduction,
    shapes,
)
from gossamer.export.onnx.scope import Lowering

LOWERINGS: Mapping[str, Lowering] = {
    **convolution.LOWERINGS,
    **elementwise.LOWERINGS,
    **normalization.LOWERINGS,
    **pooling.LOWERINGS,
    **products.LOWERINGS,
    **recurrent.LOWERINGS,
    **reduction.LOWERINGS,
    **shapes.LOWERINGS,
}
