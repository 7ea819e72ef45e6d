"""What a benchmark found, as a record that prints itself as a table or as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from gossamer.bench.measure import Timing
from gossamer.bench.memory import Memory

REFERENCE = "onnxruntime"
NOISY = 1.5


@dataclass(frozen=True, kw_only=True)
class EngineResult:
    """One engine. bytes_on_disk: all that it ships with. accuracy: fraction of right answers, where labelled
    data were given. error: why it could not be measured (then nothing else is set)."""

    engine: str
    bytes_on_disk: int = 0
    timing: Timing | None = None
    memory: Memory | None = None
    accuracy: float | None = None
    note: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """Engines side by side on one machine.

    batch, threads: of the measurement. rounds: bursts of each engine. layers: rows of the packed network's
    plan with `seconds` of a profiled run. machine: see machine.describe. test_examples: labelled ones that
    every accuracy was measured on. quick: fewer repeats, not to be quoted.
    """

    network: str
    batch: int
    threads: int
    rounds: int
    engines: list[EngineResult]
    layers: list[dict[str, Any]]
    machine: dict[str, Any]
    test_examples: int = 0
    quick: bool = False
    warnings: list[str] = field(default_factory=list)

    def timing(self, engine: str) -> Timing | None:
        """Timing of an engine, None where it was not measured."""
        return next((row.timing for row in self.engines if row.engine == engine), None)

    @property
    def reference(self) -> str | None:
        """The engine that ratios refer to: ONNX Runtime, or the first dense one that was measured."""
        measured = [row.engine for row in self.engines if row.timing is not None]
        return (
            REFERENCE
            if REFERENCE in measured
            else next((name for name in measured if name != "gossamer"), None)
        )

    def ratio(self, engine: str) -> float | None:
        """How many times faster than the reference, of medians (below 1: slower)."""
        mine, reference = self.timing(engine), self.timing(self.reference or "")
        return None if mine is None or reference is None else reference.p50 / mine.p50

    def verdict(self) -> str:
        """One sentence: who is fastest, and by how much; it says so when a dense engine wins."""
        measured = {row.engine: row.timing.p50 for row in self.engines if row.timing is not None}
        if "gossamer" not in measured or len(measured) < 2:
            return "Nothing to compare: expected gossamer and at least one other engine to be measured."
        rivals = {name: p50 for name, p50 in measured.items() if name != "gossamer"}
        best = min(rivals, key=lambda name: rivals[name])
        factor = rivals[best] / measured["gossamer"]
        if factor >= 1:
            return f"gossamer is the fastest: {factor:.2f}x over {best}, the best of the others."
        lead = f"{best} is the fastest here, {1 / factor:.2f}x over gossamer"
        return f"{lead}: dense wins on this network and machine."

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table, as text; absent figures are a dash."""
        header = [
            "engine",
            "accuracy",
            "disk",
            "memory",
            "own memory",
            "p50",
            "p95",
            "min",
            f"vs {self.reference}",
        ]
        return header, [self._row(row) for row in self.engines]

    def _row(self, row: EngineResult) -> list[str]:
        if row.error:
            return [row.engine, *["-"] * 8]
        timing, memory, ratio = row.timing, row.memory, self.ratio(row.engine)
        return [
            row.engine,
            "-" if row.accuracy is None else f"{100 * row.accuracy:.2f} %",
            kib(row.bytes_on_disk),
            "-" if memory is None else mib(memory.resident),
            "-" if memory is None else mib(memory.own),
            *(
                ["-"] * 3
                if timing is None
                else [f"{x:.3f} ms" for x in (timing.p50, timing.p95, timing.minimum)]
            ),
            "-" if ratio is None else f"{ratio:.2f}x",
        ]

    def table(self) -> str:
        """The comparison as aligned plain text with the notes, warnings and the verdict below."""
        header, rows = self.rows()
        lines = [text_table(header, rows), ""]
        lines += [f"{row.engine}: {row.note}" for row in self.engines if row.note]
        lines += [f"{row.engine} was not measured: {row.error}" for row in self.engines if row.error]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, self.verdict()])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; keys are the field names, times in milliseconds, sizes in
        bytes."""
        result = asdict(self)
        result["reference"] = self.reference
        result["ratios"] = {row.engine: self.ratio(row.engine) for row in self.engines}
        result["verdict"] = self.verdict()
        return result


def noise_warnings(timings: dict[str, Timing]) -> list[str]:
    """Engines whose p95 is far above their median: the machine was busy."""
    return [
        f"{name}: p95 is {timing.p95 / timing.p50:.1f} times the median; the machine is noisy: "
        "trust ratios and minima only"
        for name, timing in timings.items()
        if timing.p95 > NOISY * timing.p50
    ]


def kib(size: int) -> str:
    """Bytes on disk, in KiB.

    >>> kib(1536)
    '1.5 KiB'
    """
    return f"{size / 1024:,.1f} KiB"


def mib(size: int) -> str:
    """Bytes in memory, in MiB.

    >>> mib(3 * 2**20)
    '3.0 MiB'
    """
    return f"{size / 2**20:,.1f} MiB"


def text_table(header: list[str], rows: list[list[str]]) -> str:
    """Columns aligned with spaces: the first to the left, the others to the right.

    >>> print(text_table(["a", "n"], [["x", "10"], ["yy", "5"]]))
    a    n
    ------
    x   10
    yy   5
    """
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    lines = []
    for line in [header, *rows]:
        first, *others = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join([first, *(cell.strip().rjust(len(cell)) for cell in others)]))
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
