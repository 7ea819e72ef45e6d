"""How far two results are apart, and how far they may be: max|found - expected| relative to max|expected|."""

from collections.abc import Mapping

import numpy as np

from gossamer.errors import ExportError
from gossamer.export.report import Verification

TOLERANCES = {"float32": 1e-4, "float16": 5e-3}
MACS = {"native": 3e11, "reference": 2e9}  # of one run, at most


class Comparison:
    """Collects runs, then judges them.

    The error of a run is relative to max|expected| of that output over all runs: a single answer that happens to lie near zero is no
    reason to refuse a network.
    """

    def __init__(self) -> None:
        self._differences: dict[tuple[str, str], float] = {}
        self._scales: dict[str, float] = {}

    def add(self, label: str, name: str, found: np.ndarray, expected: np.ndarray) -> None:
        """The output `name` of a run at the batch (and length) `label`."""
        difference, scale = compare(found, expected, name)
        self._differences[label, name] = max(self._differences.get((label, name), 0.0), difference)
        self._scales[name] = max(self._scales.get(name, 0.0), scale)

    @property
    def errors(self) -> dict[str, float]:
        """The largest relative error of every label."""
        errors: dict[str, float] = {}
        for (label, name), difference in self._differences.items():
            errors[label] = max(errors.get(label, 0.0), relative(difference, self._scales[name]))
        return errors

    def verdict(self, model: str, *, engine: str, tolerance: float, dtype: str) -> Verification:
        """The record of what was compared; ExportError where an error is above `tolerance`. model: what the file is compared with."""
        result = Verification(engine=engine, tolerance=tolerance, errors=self.errors)
        if not result.worst <= tolerance:
            raise ExportError(
                f"the packed network differs from {model}: relative error {result.worst:.3g}, expected at most {tolerance:g} "
                f"(by batch: {_table(result.errors)}). Nothing was written. {_advice(result.errors, tolerance, dtype)}"
            )
        return result


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


def _table(errors: Mapping[str, float]) -> str:
    return ", ".join(f"{batch}: {error:.2e}" for batch, error in errors.items())


def _advice(errors: Mapping[str, float], tolerance: float, dtype: str) -> str:
    if max(errors.values()) > 100 * max(min(errors.values()), 1e-7):
        return (
            "The model computes something else at another batch (a branch on the batch's size?): pack with max_batch=1, "
            "or with an example of the batch that you need after fixing it in the model."
        )
    if tolerance < TOLERANCES[dtype]:
        return f"tolerance= is below the usual {TOLERANCES[dtype]:g} of {dtype}: raise it, or leave it out."
    if dtype == "float16":
        return 'If the weights need more precision, pack with dtype="float32"; otherwise pass tolerance= knowingly.'
    return "Please report this model: the packed network should agree with it."
