"""Quantities at the edges: a budget as the user states it, and how numbers with units are printed.

Inside the library numbers are plain and their names carry the unit (`num_kept`, `step`, `bytes_on_disk`); only at the edge, where a
number without a unit could be misread, is there a type. A budget has two numbers: the *target* that the finished network must meet, and
the *peak* that may be reached on the way (methods that grow before they prune train above the target; memory planning needs the peak).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gossamer.errors import BudgetError

Unit = Literal["weights", "macs", "bytes", "milliseconds"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a network may cost: one unit, a target, and a peak that is never cheaper than the target.

    Build it with one of the four constructors. In unit `weights` both numbers are a *sparsity*: the fraction of zeros over all weights
    of the linear and convolution layers, so a peak is a smaller number than its target; in the other units they are costs.

    >>> print(Budget.weights(0.9))
    sparsity 90 %
    >>> print(Budget.weights(0.9, peak=0.8))
    sparsity 90 % (at the peak 80 %)
    >>> print(Budget.macs(2e9))
    2 G MACs (4 G FLOPs)
    >>> print(Budget.bytes(512 * 1024), "|", Budget.milliseconds(3.5))
    512 KiB | 3.5 ms
    >>> Budget.weights(1.2)
    Traceback (most recent call last):
    gossamer.errors.BudgetError: sparsity: expected a fraction in [0, 1), got 1.2; for 90 % write 0.9
    >>> Budget.weights(90)
    Traceback (most recent call last):
    gossamer.errors.BudgetError: sparsity: expected a fraction in [0, 1), got 90; for 90 % write 0.9
    """

    unit: Unit
    target: float
    peak: float

    @classmethod
    def weights(cls, sparsity: float, *, peak: float | None = None) -> Budget:
        """A fraction of zeros, 0 <= sparsity < 1; `peak` is the smallest sparsity allowed on the way (default: the target)."""
        target = checked_sparsity(sparsity)
        highest = target if peak is None else checked_sparsity(peak, name="peak sparsity")
        if highest > target:
            raise BudgetError(
                f"peak sparsity: expected at most the target {target:g}, got {highest:g}; the peak keeps more weights"
            )
        return cls(unit="weights", target=target, peak=highest)

    @classmethod
    def macs(cls, target: float, *, peak: float | None = None) -> Budget:
        """Multiply-accumulates of one example through the linear and convolution layers (1 MAC = 2 FLOPs)."""
        return cls._cost("macs", target, peak)

    @classmethod
    def bytes(cls, target: float, *, peak: float | None = None) -> Budget:
        """Bytes of the packed weights."""
        return cls._cost("bytes", target, peak)

    @classmethod
    def milliseconds(cls, target: float, *, peak: float | None = None) -> Budget:
        """Time of one inference; only an allocation that brings a measured table can meet it."""
        return cls._cost("milliseconds", target, peak)

    @classmethod
    def _cost(cls, unit: Unit, target: float, peak: float | None) -> Budget:
        highest = target if peak is None else peak
        if not (math.isfinite(target) and target > 0):
            raise BudgetError(f"budget in {unit}: expected a positive number, got {target:g}")
        if not (math.isfinite(highest) and highest >= target):
            raise BudgetError(f"peak in {unit}: expected at least the target {target:g}, got {highest:g}")
        return cls(unit=unit, target=float(target), peak=float(highest))

    def __str__(self) -> str:
        if self.peak == self.target:
            return self._show(self.target)
        return f"{self._show(self.target)} (at the peak {self._show(self.peak).removeprefix('sparsity ')})"

    def _show(self, number: float) -> str:
        if self.unit == "weights":
            return f"sparsity {show_percent(number)}"
        if self.unit == "macs":
            return show_macs(number)
        if self.unit == "bytes":
            return show_bytes(number)
        return f"{number:g} ms"


def checked_sparsity(value: object, *, name: str = "sparsity") -> float:
    """The value as a float if it is a fraction in [0, 1), otherwise a BudgetError that says what to write.

    >>> checked_sparsity(0)
    0.0
    >>> checked_sparsity(1)
    Traceback (most recent call last):
    gossamer.errors.BudgetError: sparsity: expected a fraction in [0, 1), got 1; for 90 % write 0.9
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BudgetError(f"{name}: expected a fraction in [0, 1), got {value!r}; for 90 % write 0.9")
    if not 0 <= value < 1:  # also NaN
        percent = f"{value:g}" if 2 <= value < 100 else "90"
        raise BudgetError(
            f"{name}: expected a fraction in [0, 1), got {value:g}; for {percent} % write {float(percent) / 100:g}"
        )
    return float(value)


def show_percent(fraction: float) -> str:
    """A fraction as per cent with at most two decimals.

    >>> show_percent(0.9), show_percent(0.90625), show_percent(0.0)
    ('90 %', '90.62 %', '0 %')
    """
    return f"{100 * fraction:.2f}".rstrip("0").rstrip(".") + " %"


def show_macs(macs: float) -> str:
    """MACs and FLOPs together, because half of all confusion about cost is that factor of two.

    >>> show_macs(40_551_936)
    '40.6 M MACs (81.1 M FLOPs)'
    """
    return f"{_scaled(macs)} MACs ({_scaled(2 * macs)} FLOPs)"


def show_bytes(count: float) -> str:
    """Bytes with a binary prefix.

    >>> show_bytes(0), show_bytes(1536), show_bytes(1079000)
    ('0 B', '1.5 KiB', '1.03 MiB')
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if count < 1000 else f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def _scaled(number: float) -> str:
    for factor, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.3g}{prefix}"
    return f"{number:.3g}"
