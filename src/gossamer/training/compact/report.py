"""What `compact_` says about its work: one row a weight, and what is better left dense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class CompactRow:
    """One weight. `reason` is empty for a compact one, and says why a dense one is dense."""

    name: str
    shape: tuple[int, ...]
    size: int
    num_kept: int
    capacity: int
    nbytes: int  # values and places, without the kernel's handle, gradient and optimizer state
    reason: str


@dataclass(frozen=True, kw_only=True)
class CompactReport:
    """All linear and convolution weights of a model, compact, or dense with the reason."""

    rows: tuple[CompactRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def compact(self) -> tuple[CompactRow, ...]:
        return tuple(row for row in self.rows if not row.reason)

    @property
    def left_dense(self) -> tuple[CompactRow, ...]:
        return tuple(row for row in self.rows if row.reason)

    @property
    def peak(self) -> Mapping[str, int]:
        """Entries that each compact layer has room for."""
        return {row.name: row.capacity for row in self.compact}

    def to_dict(self) -> dict[str, object]:
        """Plain numbers, strings and lists, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        width = max([len(row.name) for row in self.rows], default=4)
        lines = [f"{'weight':<{width}}  {'shape':<18} {'kept':>10} {'capacity':>10} {'of':>11}  bytes"]
        for row in self.rows:
            shape, note = "x".join(map(str, row.shape)), f"   dense: {row.reason}" if row.reason else ""
            lines.append(
                f"{row.name:<{width}}  {shape:<18} {row.num_kept:>10,} {row.capacity:>10,} {row.size:>11,}  {row.nbytes:,}{note}"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
