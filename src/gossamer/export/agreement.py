"""How far two results are apart, and how far they may be: max|found - expected| relative to max|expected|."""

from collections.abc import Mapping

import numpy as np

from gossamer.errors import ExportError

TOLERANCES = {"float32": 1e-4, "float16": 5e-3}
MACS = {"native": 3e11, "reference": 2e9}  # of one run, at most


def compare(found: np.ndarray, expected: np.ndarray, name: str = "output") -> tuple[float, float]:
    """max|found - expected| and max|expected|; ExportError for other shapes and for NaN.

    >>> compare(np.array([1.0, 2.5]), np.array([1.0, 2.0]))
    (0.5, 2.0)
    """
    if found.shape != expected.shape:
        raise ExportError(
            f"{name}: the model gives the shape {list(expected.shape)}, the packed network {list(found.shape)}; where "
            "only a size of 1 is missing the model calls squeeze() without a dimension: write flatten(1)"
        )
    if not np.isfinite(expected).all():
        raise ExportError(
            f"{name}: the model itself gives NaN or infinity on the example; packing cannot be verified"
        )
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    return float(difference), float(np.abs(expected).max(initial=0.0))


def relative(difference: float, scale: float) -> float:
    """difference / scale; 0 where both are zero.

    >>> relative(0.5, 2.0), relative(0.0, 0.0), relative(1.0, 0.0)
    (0.25, 0.0, inf)
    """
    return difference / scale if scale > 0.0 else 0.0 if difference == 0.0 else float("inf")


def table(errors: Mapping[str, float]) -> str:
    return ", ".join(f"{batch}: {error:.2e}" for batch, error in errors.items())


def advice(errors: Mapping[str, float], tolerance: float, dtype: str) -> str:
    if max(errors.values()) > 100 * max(min(errors.values()), 1e-7):
        return (
            "The model computes something else at another batch (a branch on the batch's size?): pack with max_batch=1, "
            "or with an example of the batch that you need after fixing it in the model."
        )
    if tolerance < TOLERANCES[dtype]:
        return f"tolerance= is below the usual {TOLERANCES[dtype]:g} of {dtype}: raise it, or leave it out."
    if dtype == "float16":
        return 'If the weights need more precision, pack with dtype="float32"; otherwise pass tolerance= knowingly.'
    return "Please report this model: packed and torch outputs should agree."
