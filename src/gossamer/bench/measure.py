"""Timing several engines fairly on a noisy machine.

The engines take turns: a round gives every engine one burst of calls, the order changes from round to round,
so that a slow phase of the machine hits all alike and every engine follows every other one equally often. The
first call of a burst pays for the caches that the engine before it has filled; it is recorded apart (`cold`),
the others are the `hot` ones that p50 and p95 speak of. Ratios are of medians, minima stand beside them.
`flushed` goes further: before every single call a buffer larger than the caches is rewritten, so that weights come from memory.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PAUSE = 0.005
"""Seconds before a burst: worker threads of the engine before it stop spinning for more work."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latency of one engine in milliseconds; `calls` hot calls were measured. flushed_*: after the caches were rewritten; None where
    that was not measured.

    >>> Timing.of([1.0, 3.0, 3.0], cold=[5.0])
    Timing(p50=3.0, p95=3.0, minimum=1.0, cold_p50=5.0, calls=3, flushed_p50=None, flushed_minimum=None)
    """

    p50: float
    p95: float
    minimum: float
    cold_p50: float
    calls: int
    flushed_p50: float | None = None
    flushed_minimum: float | None = None

    @classmethod
    def of(cls, hot: list[float], *, cold: list[float]) -> Timing:
        """Summarize measured calls (milliseconds)."""
        p50, p95 = np.percentile(hot, [50, 95])
        return cls(
            p50=float(p50),
            p95=float(p95),
            minimum=min(hot),
            cold_p50=float(np.median(cold)),
            calls=len(hot),
        )


@dataclass
class Usage:
    """Wall and CPU seconds of this process inside of bursts: with one thread, their difference is what others took of the core."""

    wall: float = 0.0
    cpu: float = 0.0

    @property
    def taken(self) -> float:
        """Share of the wall time in which this process did not run, 0 to 1.

        >>> Usage(wall=2.0, cpu=1.5).taken
        0.25
        """
        return max(0.0, 1 - self.cpu / self.wall) if self.wall else 0.0


@contextmanager
def pinned(threads: int) -> Iterator[tuple[int, ...]]:
    """Keep this process, threads that exist already included, on the `threads` allowed CPUs that were idle most in the last tenth of
    a second; yields them (empty where the system cannot pin)."""
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    allowed = os.sched_getaffinity(0)
    chosen = tuple(sorted(_idlest(allowed)[:threads]))
    _pin_all(set(chosen))
    try:
        yield chosen
    finally:
        _pin_all(allowed)


def _idlest(cpus: set[int]) -> list[int]:
    """CPUs in order of the time that they had nothing to do; in order of number where the system does not tell."""
    before = _idle_ticks()
    time.sleep(0.1)
    after = _idle_ticks()
    return sorted(cpus, key=lambda cpu: (before.get(cpu, 0) - after.get(cpu, 0), cpu))


def _idle_ticks() -> dict[int, int]:
    path = Path("/proc/stat")
    lines = path.read_text().splitlines() if path.exists() else []
    rows = (line.split() for line in lines if line.startswith("cpu") and line[3].isdigit())
    return {int(row[0][3:]): int(row[4]) for row in rows}


def _pin_all(cpus: set[int]) -> None:
    """sched_setaffinity concerns one thread; pools that a library started earlier would keep their CPUs."""
    tasks = Path("/proc/self/task")
    for task in tasks.iterdir() if tasks.is_dir() else [Path("0")]:
        with suppress(ProcessLookupError):  # a thread that has ended meanwhile
            os.sched_setaffinity(int(task.name), cpus)


def interleave(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    burst_ms: float = 20.0,
    tick: Callable[[int, int], None] | None = None,
    usage: Usage | None = None,
) -> dict[str, Timing]:
    """Time every call in turns: `rounds` rounds of bursts of about `burst_ms` milliseconds each (at least 3
    calls).

    tick(done, rounds), where given, is called after each round (progress). usage: where wall and CPU time are added up.
    """
    burst = {name: _burst_length(call, burst_ms) for name, call in calls.items()}
    hot: dict[str, list[float]] = {name: [] for name in calls}
    cold: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for round_index in range(rounds):
            for name in _order(names, round_index):
                time.sleep(PAUSE)
                wall, cpu = time.perf_counter(), time.process_time()
                times = _time(calls[name], burst[name])
                if usage is not None:
                    usage.wall += time.perf_counter() - wall
                    usage.cpu += time.process_time() - cpu
                cold[name].append(times[0])
                hot[name].extend(times[1:])
            if tick is not None:
                tick(round_index + 1, rounds)
    finally:
        if collecting:
            gc.enable()
    return {name: Timing.of(hot[name], cold=cold[name]) for name in names}


def flushed(
    calls: Mapping[str, Callable[[], object]], *, rounds: int, buffer: np.ndarray
) -> dict[str, list[float]]:
    """Milliseconds of single calls in turns, each after `buffer` was rewritten: the caches hold nothing of the engine then."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for round_index in range(rounds):
        for name in _order(names, round_index):
            np.add(buffer, 1, out=buffer)
            times[name] += _time(calls[name], 1)
    return times


def _order(names: list[str], round_index: int) -> list[str]:
    """Whose turn it is in a round: rows of a Williams design (first, next, last, third, last but one, ...,
    shifted by one each round), then the same rows backwards.

    >>> [''.join(_order(list("abc"), index)) for index in range(6)]
    ['abc', 'bca', 'cab', 'cba', 'acb', 'bac']
    """
    count = len(names)
    zigzag = [(place + 1) // 2 if place % 2 else -place // 2 for place in range(count)]
    turns = [names[(step + round_index) % count] for step in zigzag]
    return turns if (round_index // count) % 2 == 0 else turns[::-1]


def _burst_length(call: Callable[[], object], burst_ms: float) -> int:
    if min(_time(call, 1)) >= burst_ms:
        return 3
    _time(call, 2)
    return int(max(3, min(200, burst_ms / max(min(_time(call, 3)), 1e-3))))


def _time(call: Callable[[], object], count: int) -> list[float]:
    clock = time.perf_counter_ns
    times = []
    for _ in range(count):
        start = clock()
        call()
        times.append((clock() - start) / 1e6)
    return times
