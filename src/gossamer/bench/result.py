"""What a benchmark found, as a record that prints itself as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gossamer.bench.measure import Timing
from gossamer.bench.memory import Memory
from gossamer.bench.noise import Noise
from gossamer.bench.roofline import Roof

REFERENCE = "onnxruntime"


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
    plan with `seconds` of a profiled run and what roofline.explained adds. machine: see machine.describe. test_examples: labelled
    ones that every accuracy was measured on. quick: fewer repeats, not to be quoted. sparsity, pattern: as asked for; None for a file
    that was given. roof: measured ends of the roofline. cold: how weights were made cold. noise: what noise.Noise judges by. length:
    of the inputs where the network has a free one.
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
    sparsity: float | None = None
    pattern: str | None = None
    roof: Roof | None = None
    cold: str = ""
    noise: Noise | None = None
    length: int | None = None

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

    def over(self, engines: Sequence[str]) -> float | None:
        """How many times faster gossamer is than the fastest of these engines, of minima; None where one side is missing."""
        mine = self.timing("gossamer")
        rivals = [timing.minimum for name in engines if (timing := self.timing(name)) is not None]
        return None if mine is None or not rivals else min(rivals) / mine.minimum

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
            "cold",
            f"vs {self.reference}",
        ]
        return header, [self._row(row) for row in self.engines]

    def _row(self, row: EngineResult) -> list[str]:
        if row.error:
            return [row.engine, *["-"] * 9]
        timing, memory, ratio = row.timing, row.memory, self.ratio(row.engine)
        return [
            row.engine,
            "-" if row.accuracy is None else f"{100 * row.accuracy:.2f} %",
            kib(row.bytes_on_disk),
            "-" if memory is None else mib(memory.resident),
            "-" if memory is None else mib(memory.own),
            *(
                ["-"] * 4
                if timing is None
                else [_ms(x) for x in (timing.p50, timing.p95, timing.minimum, timing.flushed_p50)]
            ),
            "-" if ratio is None else f"{ratio:.2f}x",
        ]

    @property
    def title(self) -> str:
        """What was measured, in a line."""
        pruned = "" if self.sparsity is None else f", {100 * self.sparsity:g} % {self.pattern}"
        length = "" if self.length is None else f", length {self.length}"
        return f"{self.network}{pruned}: batch {self.batch}{length}, {self.threads} thread{'s' * (self.threads > 1)}"

    def table(self) -> str:
        """The comparison as aligned plain text with the notes, warnings and the verdict below."""
        header, rows = self.rows()
        lines = [self.title, "", text_table(header, rows), ""]
        lines += [f"cold: {self.cold}"] if self.cold else []
        lines += [f"{row.engine}: {row.note}" for row in self.engines if row.note]
        lines += [f"{row.engine} was not measured: {row.error}" for row in self.engines if row.error]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*lines, self.verdict()])

    def layer_table(self) -> str:
        """Layers that took time, with their place below the roof; empty where nothing was profiled."""
        timed = [row for row in self.layers if row["seconds"]]
        if not timed:
            return ""
        header = ["layer", "kernel", "µs", "share", "GFLOP/s", "FLOP/byte", "of roof", "kept", "why"]
        lines = [text_table(header, [_layer(row) for row in timed], left=(0, 1, 8))]
        if self.roof is not None:
            lines.append(
                f"roof of one core, measured: {self.roof.gflops:.0f} GFLOP/s ({self.roof.isa}), {self.roof.gbytes:.1f} GB/s from "
                "memory; a layer whose data stay in the cache may be above its roof"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; keys are the field names, times in milliseconds, sizes in
        bytes."""
        result = asdict(self)
        result["title"] = self.title
        result["reference"] = self.reference
        result["ratios"] = {row.engine: self.ratio(row.engine) for row in self.engines}
        result["verdict"] = self.verdict()
        return result


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} ms"


def _layer(row: dict[str, Any]) -> list[str]:
    known = row["gflops"] is not None
    roof = row["roof_share"]
    return [
        row["name"],
        row["kernel"],
        f"{1e6 * row['seconds']:.1f}",
        f"{100 * row['share']:.1f} %",
        f"{row['gflops']:.1f}" if known else "-",
        f"{row['intensity']:.1f}" if known else "-",
        "-" if roof is None else f"{100 * roof:.0f} %",
        f"{100 * row['num_kept'] / row['num_weights']:.1f} %" if row["num_weights"] else "-",
        row["reason"],
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


def text_table(header: list[str], rows: list[list[str]], left: Sequence[int] = (0,)) -> str:
    """Columns aligned with spaces: those in `left` to the left, the others to the right.

    >>> print(text_table(["a", "n"], [["x", "10"], ["yy", "5"]]))
    a    n
    ------
    x   10
    yy   5
    """
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    lines = []
    for line in [header, *rows]:
        cells = zip(range(len(line)), line, widths, strict=True)
        lines.append(
            "  ".join(cell.ljust(width) if n in left else cell.rjust(width) for n, cell, width in cells)
        )
    return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0]), *lines[1:]])
