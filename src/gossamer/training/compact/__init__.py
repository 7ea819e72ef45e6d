"""Compact training: layers whose parameters ARE the kept values, conversion of models, and edits on the kept entries."""

from gossamer.training.compact.conv import SparseConv2d
from gossamer.training.compact.convert import compact_
from gossamer.training.compact.dense import DenseState, dense_state_dict, to_dense
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.compact.linear import SparseLinear
from gossamer.training.compact.report import CompactReport, CompactRow

__all__ = [
    "CompactLayer",
    "CompactReport",
    "CompactRow",
    "DenseState",
    "SparseConv2d",
    "SparseLinear",
    "compact_",
    "dense_state_dict",
    "to_dense",
]
