"""What growing in parallel cost: every turn with its steps, seconds and losses, and the peak."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TurnRow:
    """One turn. `partition` None: fine-tuning. `lost`: in words, every attempt that failed before."""

    round: int
    partition: int | None
    steps: int
    seconds: float
    peak_kept: int  # weights of the whole network kept at most, dense layers included
    lost: tuple[str, ...] = ()

    @property
    def retries(self) -> int:
        return len(self.lost)


@dataclass(frozen=True, kw_only=True)
class ParallelReport:
    """The whole run. `size`, `num_kept`: weights of all linear and convolution layers, and those kept in the end."""

    rows: tuple[TurnRow, ...]
    size: int
    num_kept: int

    @property
    def machine_steps(self) -> int:
        """Optimizer steps of all workers together: the cost."""
        return sum(row.steps for row in self.rows)

    @property
    def longest_steps(self) -> int:
        """Optimizer steps one after the other: the time, with a worker for every partition."""
        rounds = {row.round for row in self.rows}
        return sum(max(row.steps for row in self.rows if row.round == number) for number in rounds)

    @property
    def retries(self) -> int:
        return sum(row.retries for row in self.rows)

    @property
    def peak_kept(self) -> int:
        """Of one worker: no machine holds more."""
        return max(row.peak_kept for row in self.rows)

    @property
    def peak_density(self) -> float:
        return self.peak_kept / self.size

    @property
    def sparsity(self) -> float:
        return 1 - self.num_kept / self.size

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON."""
        return {
            "rows": [{**asdict(row), "lost": list(row.lost)} for row in self.rows],
            "size": self.size,
            "num_kept": self.num_kept,
            "machine_steps": self.machine_steps,
            "longest_steps": self.longest_steps,
            "retries": self.retries,
            "peak_kept": self.peak_kept,
        }

    def __str__(self) -> str:
        lines = ["round  partition  steps   seconds  peak density  retries"]
        for row in self.rows:
            partition = "fine-tune" if row.partition is None else str(row.partition)
            lines.append(
                f"{row.round:>5}  {partition:>9}  {row.steps:>5}  {row.seconds:>8.1f}  {row.peak_kept / self.size:>12.1%}  {row.retries:>7}"
            )
        lines.append(
            f"{self.machine_steps:,} steps of all workers, {self.longest_steps:,} one after the other; peak density "
            f"{self.peak_density:.1%}, sparsity {self.sparsity:.2%}"
        )
        return "\n".join(lines)


def rows_from(saved: Sequence[Mapping[str, Any]]) -> list[TurnRow]:
    """Rows as `asdict` made them."""
    return [TurnRow(**{**row, "lost": tuple(row["lost"])}) for row in saved]
