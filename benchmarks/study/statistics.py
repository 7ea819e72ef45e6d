"""Means with intervals over seeds, and verdicts on differences that are paired by seed.

The interval of a mean is the t interval: mean ± t(0.975, n - 1) s / sqrt(n), for errors that are nearly normal.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t with 1, 2, ... 9 degrees of freedom (any table of the distribution)."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds; `half` is half the width of its 95 % interval, None for fewer than two seeds."""

    mean: float
    half: float | None
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + ("" if self.half is None else f" ± {self.half:.2f}")


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of two to ten values with its 95 % interval.

    >>> estimate([1.0, 2.0, 3.0])  # 4.303 * 1 / sqrt(3)
    Estimate(mean=2.0, half=2.48433820832296, seeds=3)
    >>> print(estimate([1.5]))
    1.50
    """
    if not 1 <= len(values) <= len(T_975) + 1:
        raise ValueError(f"expected 1 to {len(T_975) + 1} values, got {len(values)}")
    half = None
    if len(values) > 1:
        half = T_975[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(mean=statistics.fmean(values), half=half, seeds=len(values))


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> Estimate | None:
    """The difference one - other over the seeds that both have; None where they share none.

    >>> print(paired({0: 90.0, 1: 91.0, 7: 0.0}, {0: 89.0, 1: 89.6}))
    1.20 ± 2.54
    """
    shared = [one[seed] - other[seed] for seed in sorted(set(one) & set(other))]
    return estimate(shared) if shared else None


def verdict(difference: Estimate | None, seeds: int, *, above: float = 0.0) -> str:
    """What the difference says about the claim that it is above this: confirmed, contradicted or undecided, and how that follows.

    >>> verdict(Estimate(mean=1.0, half=0.4, seeds=5), 5), verdict(Estimate(mean=-1.0, half=0.4, seeds=5), 5)
    ('confirmed', 'contradicted')
    >>> verdict(Estimate(mean=1.0, half=1.4, seeds=5), 5), verdict(Estimate(mean=1.0, half=0.4, seeds=3), 5), verdict(None, 5)
    ('undecided', 'undecided (3 of 5 seeds)', 'not run yet')
    >>> [verdict(Estimate(mean=mean, half=0.2, seeds=5), 5, above=-0.3) for mean in (0.0, -0.2, -0.6)]  # no more than 0.3 lost
    ['confirmed', 'undecided', 'contradicted']
    """
    if difference is None:
        return "not run yet"
    if difference.seeds < seeds:
        return f"undecided ({difference.seeds} of {seeds} seeds)"
    beyond = difference.mean - above
    if difference.half is None or abs(beyond) <= difference.half:
        return "undecided"
    return "confirmed" if beyond > 0 else "contradicted"


def joined(verdicts: Sequence[str]) -> str:
    """One verdict of a claim that says several things at once: confirmed if all are, contradicted if one is.

    >>> joined(["confirmed", "confirmed"]), joined(["confirmed", "undecided"]), joined(["contradicted", "undecided"])
    ('confirmed', 'undecided', 'contradicted')
    >>> joined(["confirmed", "not run yet"])
    'undecided'
    """
    if "contradicted" in verdicts:
        return "contradicted"
    return "confirmed" if all(word == "confirmed" for word in verdicts) else "undecided"
