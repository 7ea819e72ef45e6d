"""Timing several engines fairly on a noisy machine.

The engines take turns: a round gives every engine one burst of calls, the order rotates from round to round,
so that a slow phase of the machine hits all alike. The first call of a burst pays for the caches that the
engine before it has filled; it is recorded apart (`cold`), the others are the `hot` ones that p50 and p95
speak of. Ratios are of medians, minima stand beside them.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latency of one engine in milliseconds; `calls` hot calls were measured.

    >>> Timing.of([1.0, 2.0, 3.0, 4.0], cold=[5.0])
    Timing(p50=2.5, p95=3.85, minimum=1.0, cold_p50=5.0, calls=4)
    """

    p50: float
    p95: float
    minimum: float
    cold_p50: float
    calls: int

    @classmethod
    def of(cls, hot: list[float], *, cold: list[float]) -> Timing:
        """Summarize measured calls (milliseconds)."""
        p50, p95 = np.percentile(hot, [50, 95])
        return cls(
            p50=float(p50),
            p95=round(float(p95), 12),
            minimum=min(hot),
            cold_p50=float(np.median(cold)),
            calls=len(hot),
        )


@contextmanager
def pinned(threads: int) -> Iterator[tuple[int, ...]]:
    """Keep this process on its first `threads` allowed CPUs; yields them (empty where the system cannot
    pin)."""
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    allowed = os.sched_getaffinity(0)
    chosen = tuple(sorted(allowed)[:threads])
    os.sched_setaffinity(0, chosen)
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, allowed)


def interleave(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    burst_ms: float = 20.0,
    tick: Callable[[int, int], None] | None = None,
) -> dict[str, Timing]:
    """Time every call in turns: `rounds` rounds of bursts of about `burst_ms` milliseconds each (at least 3
    calls).

    tick(done, rounds), where given, is called after each round (progress).
    """
    burst = {name: _burst_length(call, burst_ms) for name, call in calls.items()}
    hot: dict[str, list[float]] = {name: [] for name in calls}
    cold: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for round_index in range(rounds):
            shift = round_index % len(names)
            for name in names[shift:] + names[:shift]:
                times = _time(calls[name], burst[name])
                cold[name].append(times[0])
                hot[name].extend(times[1:])
            if tick is not None:
                tick(round_index + 1, rounds)
    finally:
        if collecting:
            gc.enable()
    return {name: Timing.of(hot[name], cold=cold[name]) for name in names}


def _burst_length(call: Callable[[], object], burst_ms: float) -> int:
    _time(call, 3)
    return int(max(3, min(200, burst_ms / max(min(_time(call, 3)), 1e-3))))


def _time(call: Callable[[], object], count: int) -> list[float]:
    clock = time.perf_counter_ns
    times = []
    for _ in range(count):
        start = clock()
        call()
        times.append((clock() - start) / 1e6)
    return times
