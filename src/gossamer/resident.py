"""Resident memory of this process, as Linux tells it; elsewhere nothing is known and everything is 0.

>>> forget_peak()
>>> found = resident()
>>> found.peak >= found.now
True
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class Resident:
    """Bytes. now: resident. peak: the most since the process began, or since `forget_peak`."""

    now: int
    peak: int


def is_known() -> bool:
    """Whether this system tells a process's memory."""
    return _STATUS.exists()


def resident() -> Resident:
    """VmRSS and VmHWM of this process."""
    if not is_known():
        return Resident(now=0, peak=0)
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    now, peak = (int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return Resident(now=now, peak=peak)


def forget_peak() -> None:
    """The peak is what is resident now: what imports and loading took for a moment does not count as what comes after them.

    Where the system forbids it (some containers) the peak stays that of the whole process, so what is measured is never too small.
    """
    with suppress(OSError):
        _CLEAR.write_text("5")
