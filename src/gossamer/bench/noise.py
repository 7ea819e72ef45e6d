"""How quiet the machine was during a benchmark: three measures, each with a limit, each named in its warning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gossamer.bench.measure import Timing, Usage

SPREAD = 1.5
ABOVE_MINIMUM = 1.3
TAKEN = 0.05


@dataclass(frozen=True, kw_only=True)
class Noise:
    """spread: largest p95 over median of an engine. above_minimum: largest median over minimum. taken: share of the time in which
    others had the core (None with several threads, where it cannot be told)."""

    spread: float
    above_minimum: float
    taken: float | None

    @classmethod
    def of(cls, timings: Mapping[str, Timing], usage: Usage, *, threads: int) -> Noise:
        """Judge what was measured; an engine without times counts nothing."""
        return cls(
            spread=max((timing.p95 / timing.p50 for timing in timings.values()), default=1.0),
            above_minimum=max((timing.p50 / timing.minimum for timing in timings.values()), default=1.0),
            taken=usage.taken if threads == 1 else None,
        )

    def warnings(self) -> list[str]:
        """One sentence a measure that is over its limit.

        >>> Noise(spread=1.1, above_minimum=1.1, taken=0.5).warnings()
        ['the machine is noisy: other work had the core for 50 % of the measured time (limit 5 %); trust ratios and minima only']
        """
        found = []
        if self.spread > SPREAD:
            found.append(f"p95 is up to {self.spread:.1f} times the median (limit {SPREAD})")
        if self.above_minimum > ABOVE_MINIMUM:
            found.append(
                f"medians are up to {self.above_minimum:.1f} times the minimum (limit {ABOVE_MINIMUM})"
            )
        if self.taken is not None and self.taken > TAKEN:
            found.append(
                f"other work had the core for {self.taken:.0%} of the measured time (limit {TAKEN:.0%})".replace(
                    "%", " %"
                )
            )
        return [f"the machine is noisy: {what}; trust ratios and minima only" for what in found]
