"""Quantities at the edges: a budget as the user states it, and how numbers with units are printed.

Inside the library numbers are plain and their names carry the unit (`num_kept`, `step`, `bytes_on_disk`); only at the edge, where a
number without a unit could be misread, is there a type. A budget has two numbers: the *target* that the finished network must meet, and
the *peak* that may be reached on the way (methods that grow before they prune train above the target; memory planning needs the peak).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal, TypeGuard

from gossamer.errors import BudgetError

Unit = Literal["weights", "macs", "bytes", "milliseconds"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a network may cost: one unit, a target, and a peak that is never cheaper than the target (default: the target).

    Build it with one of the four constructors; BudgetError says which number is out of range. In unit `weights` both numbers are a
    *sparsity*: the fraction of zeros over all weights of the linear and convolution layers, so a peak is a smaller number than its target;
    in the other units they are costs.

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

    def __post_init__(self) -> None:
        if self.unit == "weights":
            checked_sparsity(self.target)
            checked_sparsity(self.peak, name="peak sparsity")
            if self.peak > self.target:
                raise BudgetError(
                    f"peak sparsity: expected at most the target {self.target:g}, got {self.peak:g}; the peak keeps more weights"
                )
            return
        for name, number in ((f"budget in {self.unit}", self.target), (f"peak in {self.unit}", self.peak)):
            if not _is_number(number) or not (math.isfinite(number) and number > 0):
                raise BudgetError(f"{name}: expected a positive number, got {number!r}")
        if self.peak < self.target:
            raise BudgetError(
                f"peak in {self.unit}: expected at least the target {self.target:g}, got {self.peak:g}"
            )

    @classmethod
    def weights(cls, sparsity: float, *, peak: float | None = None) -> Budget:
        """A fraction of zeros, 0 <= sparsity < 1; `peak` is the smallest sparsity allowed on the way."""
        return cls(unit="weights", target=sparsity, peak=sparsity if peak is None else peak)

    @classmethod
    def macs(cls, target: float, *, peak: float | None = None) -> Budget:
        """Multiply-accumulates of one example through the linear and convolution layers (1 MAC = 2 FLOPs)."""
        return cls(unit="macs", target=target, peak=target if peak is None else peak)

    @classmethod
    def bytes(cls, target: float, *, peak: float | None = None) -> Budget:
        """Bytes of the packed weights."""
        return cls(unit="bytes", target=target, peak=target if peak is None else peak)

    @classmethod
    def milliseconds(cls, target: float, *, peak: float | None = None) -> Budget:
        """Time of one inference; only an allocation that brings a measured table can meet it."""
        return cls(unit="milliseconds", target=target, peak=target if peak is None else peak)

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
    if isinstance(value, str):
        raise BudgetError(f"{name}: expected a number, got the text {value!r}")
    if not _is_number(value):
        raise BudgetError(f"{name}: expected a fraction in [0, 1), got {value!r}; for 90 % write 0.9")
    if not 0 <= value < 1:  # also NaN
        percent = f"{value:g}" if 2 <= value < 100 else "90"
        raise BudgetError(
            f"{name}: expected a fraction in [0, 1), got {value:g}; for {percent} % write {float(percent) / 100:g}"
        )
    return float(value)


def show_percent(fraction: float) -> str:
    """A fraction as per cent with at most two decimals; 100 % is the whole and nothing less.

    >>> show_percent(0.9), show_percent(0.90625), show_percent(0.0), show_percent(0.99999), show_percent(1)
    ('90 %', '90.62 %', '0 %', '99.99 %', '100 %')
    """
    percent = 100 * fraction if fraction >= 1 else min(100 * fraction, 99.99)
    return f"{percent:.2f}".rstrip("0").rstrip(".") + " %"


def show_macs(macs: float) -> str:
    """MACs and FLOPs together, because half of all confusion about cost is that factor of two.

    >>> show_macs(40_551_936), show_macs(999_900)
    ('40.6 M MACs (81.1 M FLOPs)', '1 M MACs (2 M FLOPs)')
    """
    return f"{_scaled(macs)} MACs ({_scaled(2 * macs)} FLOPs)"


def show_bytes(count: float) -> str:
    """Bytes with a binary prefix.

    >>> show_bytes(0), show_bytes(1536), show_bytes(1079000), show_bytes(1023.9 * 1024)
    ('0 B', '1.5 KiB', '1.03 MiB', '1 MiB')
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1023.5:
            return f"{_digits(count)} {unit}"
        count /= 1024
    return f"{_digits(count)} GiB"


def _scaled(number: float) -> str:
    for factor, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * factor:
            return _digits(number / factor) + prefix
    return _digits(number)


def _digits(number: float) -> str:
    """Three significant digits, or all digits before the point; never an exponent."""
    return f"{number:.3g}" if number < 999.5 else f"{number:.0f}"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)
