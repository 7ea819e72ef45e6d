"""Criteria: score functions, higher = keep. One file a criterion; `view.py` holds what they see and promise.

>>> sorted(CRITERIA)
['gradient', 'magnitude', 'magnitude_gradient', 'taylor']
"""

from __future__ import annotations

from gossamer.sparsity.criteria.gradient import Gradient
from gossamer.sparsity.criteria.magnitude import Magnitude
from gossamer.sparsity.criteria.magnitude_gradient import MagnitudeGradient
from gossamer.sparsity.criteria.taylor import Taylor
from gossamer.sparsity.criteria.view import Criterion, View

CRITERIA: dict[str, Criterion] = {
    "magnitude": Magnitude(),
    "gradient": Gradient(),
    "magnitude_gradient": MagnitudeGradient(),
    "taylor": Taylor(),
}

__all__ = ["CRITERIA", "Criterion", "Gradient", "Magnitude", "MagnitudeGradient", "Taylor", "View"]
