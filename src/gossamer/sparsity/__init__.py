"""Sparsity: what may be zero, and how much. Mathematics on one matrix [outputs, inputs]; knows no model and no time.

`patterns` (which masks are legal), `criteria` (scores), `growth`, `schedules`, `allocation` (a budget over layers), `costs`, `view`.
"""

from gossamer.sparsity.allocation import ALLOCATIONS, Allocation, Granted, allocate, erk, global_rank, uniform
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.criteria import CRITERIA, Criterion, View
from gossamer.sparsity.growth import FILLS, GROWTH, Growth
from gossamer.sparsity.patterns import PATTERNS, Pattern, nearest_count, parse_pattern
from gossamer.sparsity.view import as_matrix, from_matrix, matrix_shape

__all__ = [
    "ALLOCATIONS",
    "CRITERIA",
    "FILLS",
    "GROWTH",
    "PATTERNS",
    "Allocation",
    "Criterion",
    "Granted",
    "Growth",
    "LayerShape",
    "Pattern",
    "View",
    "allocate",
    "as_matrix",
    "erk",
    "from_matrix",
    "global_rank",
    "matrix_shape",
    "nearest_count",
    "parse_pattern",
    "uniform",
]
