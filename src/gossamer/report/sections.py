"""Sections of a report, made from the plain JSON that `bench` and `train` write: one function a section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gossamer.report import plots
from gossamer.report.page import Block, Figure, KeyFigures, Section, Table, Text

Json = Mapping[str, Any]


def training(runs: Mapping[str, Sequence[Json]]) -> Section:
    """Accuracy, loss, density and costs over the steps. runs: name -> rows of metrics.jsonl (keys step, loss,
    density, test_accuracy, macs, examples, memory)."""
    blocks: list[Figure] = []
    for key, label, percent in (
        ("test_accuracy", "accuracy on the test images, %", True),
        ("loss", "training loss", False),
        ("density", "density (weights kept), %", True),
        ("macs", "multiply-accumulates, 10^12", False),
        ("examples", "examples seen", False),
        ("memory", "memory held by training, MiB", False),
    ):
        scale = _SCALES.get(key, 1)
        series = {name: _series(rows, key, scale) for name, rows in runs.items()}
        series = {name: points for name, points in series.items() if points[0]}
        if series:
            svg = plots.lines(series, x_label="optimizer steps", y_label=label, percent=percent)
            blocks.append(
                Figure(
                    svg=svg,
                    caption=f"{label[0].upper()}{label[1:].partition(',')[0]} over the training steps.",
                )
            )
    return Section(title="Training", blocks=tuple(blocks))


def engines(bench: Json) -> Section:
    """The comparison table, latency, size and memory bars. bench: BenchResult.to_json()."""
    rows = bench["engines"]
    measured = [row for row in rows if row["timing"] is not None]
    marked = tuple(index for index, row in enumerate(rows) if row["engine"] == "gossamer")
    table = Table(
        header=[
            "engine",
            "accuracy",
            "on disk",
            "memory",
            "own memory",
            "p50",
            "p95",
            "min",
            "cold",
            f"vs {bench['reference']}",
        ],
        rows=[_engine_row(row, bench["ratios"]) for row in rows],
        marked=marked,
    )
    figures = [
        (
            "Latency of one inference, median.",
            {row["engine"]: row["timing"]["p50"] for row in measured},
            "ms",
            3,
        ),
        ("Size on disk.", {row["engine"]: row["bytes_on_disk"] / 1024 for row in measured}, "KiB", 0),
        (
            "Resident memory of a fresh process, less that of a bare Python with NumPy.",
            {row["engine"]: row["memory"]["own"] / 2**20 for row in measured if row["memory"]},
            "MiB",
            1,
        ),
    ]
    bars = [
        Figure(svg=plots.bars(values, unit=unit, marked=("gossamer",), digits=digits), caption=caption)
        for caption, values, unit, digits in figures
        if values
    ]
    remarks = [f"{row['engine']}: {row['note']}" for row in rows if row["note"]]
    remarks += [f"{row['engine']} was not measured: {row['error']}" for row in rows if row["error"]]
    notes = tuple(Text(text=text, note=True) for text in [*remarks, *bench["warnings"], _how(bench)])
    head: list[Block] = [Text(text=bench["verdict"]), *_key_figures(bench)]
    what = f": {bench['title']}" if "title" in bench else ""
    return Section(title=f"Against the dense engines{what}", blocks=(*head, table, *bars, *notes))


def layers(bench: Json) -> Section:
    """The kernel that ran for every layer, its time, and why it was chosen."""
    rows = bench["layers"]
    total = sum(row["seconds"] for row in rows) or 1.0
    table = Table(
        header=[
            "layer",
            "op",
            "kernel",
            "kept",
            "density",
            "MACs",
            "µs",
            "share",
            "GFLOP/s",
            "of roof",
            "why",
        ],
        rows=[_layer_row(row, total) for row in rows],
        words=(10,),
        names=(0, 1, 2),
        many=True,
    )
    what = f": {bench['title']}" if "title" in bench else ""
    roof = bench.get("roof")
    note = _LAYER_NOTE if roof is None else f"{_LAYER_NOTE} {_ROOF_NOTE.format(**roof)}"
    return Section(title=f"Layer by layer{what}", blocks=(table, Text(text=note, note=True)))


def density(bench: Json) -> Section:
    """How much of every layer was kept."""
    weighted = {
        row["name"]: row["num_kept"] / row["num_weights"] for row in bench["layers"] if row["num_weights"]
    }
    if not weighted:
        return Section(
            title="Density of every layer", blocks=(Text(text="This network has no weight matrices."),)
        )
    svg = plots.columns(weighted, y_label="weights kept, %", percent=True)
    numbered = len(weighted) > plots.MOST_NAMES
    caption = "Share of the weights kept" + (
        ", layers with weights in the order of the table below." if numbered else "."
    )
    return Section(title="Density of every layer", blocks=(Figure(svg=svg, caption=caption),))


def machine(bench: Json) -> Section:
    """Where it was measured, and with which versions."""
    facts = dict(bench["machine"])
    versions = facts.pop("versions")
    rows = [[key, str(value)] for key, value in facts.items()]
    rows += [[f"{package} version", version] for package, version in versions.items()]
    return Section(
        title="Machine and versions", blocks=(Table(header=["what", "value"], rows=rows, words=(1,)),)
    )


_LAYER_NOTE = (
    "One profiled inference, the fastest of ten. A layer fused into another costs nothing of its own. "
    "MACs are those of kept weights; 1 MAC = 2 FLOPs."
)
_ROOF_NOTE = (
    "Roof of one core, measured: {gflops:.0f} GFLOP/s ({isa}) and {gbytes:.1f} GB/s from memory; a layer whose data stay in the "
    "cache may be above it."
)


_SCALES = {"macs": 1e-12, "memory": 2**-20}


def _series(rows: Sequence[Json], key: str, scale: float) -> tuple[list[float], list[float]]:
    points = [(row["step"], scale * row[key]) for row in rows if row.get(key) is not None]
    return [step for step, _ in points], [value for _, value in points]


def _key_figures(bench: Json) -> list[KeyFigures]:
    """What gossamer gains over the reference engine; nothing where one of them was not measured."""
    rows = {row["engine"]: row for row in bench["engines"] if row["timing"] is not None}
    mine, reference = rows.get("gossamer"), rows.get(bench["reference"])
    if mine is None or reference is None:
        return []
    name = reference["engine"]
    figures = [
        (f"{bench['ratios']['gossamer']:.2f}x", f"speed, against {name} (medians)"),
        (f"{mine['timing']['p50']:.3f} ms", "median latency"),
        (f"{reference['bytes_on_disk'] / mine['bytes_on_disk']:.1f}x", f"smaller on disk than {name}"),
    ]
    if mine["accuracy"] is not None and reference["accuracy"] is not None:
        points = 100 * (mine["accuracy"] - reference["accuracy"])
        figures.append((f"{100 * mine['accuracy']:.2f} %", f"accuracy, {points:+.2f} points against {name}"))
    return [KeyFigures(figures=tuple(figures))]


def _engine_row(row: Json, ratios: Json) -> list[str]:
    timing, memory, ratio = row["timing"], row["memory"], ratios[row["engine"]]
    if timing is None:
        return [row["engine"], *["–"] * 9]
    return [
        row["engine"],
        "–" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f} %",
        f"{row['bytes_on_disk'] / 1024:,.1f} KiB",
        "–" if memory is None else f"{memory['resident'] / 2**20:,.1f} MiB",
        "–" if memory is None else f"{memory['own'] / 2**20:,.1f} MiB",
        *(f"{timing[key]:.3f} ms" for key in ("p50", "p95", "minimum")),
        "–" if timing.get("flushed_p50") is None else f"{timing['flushed_p50']:.3f} ms",
        "–" if ratio is None else f"{ratio:.2f}x",
    ]


def _layer_row(row: Json, total: float) -> list[str]:
    seconds, weights = row["seconds"], row["num_weights"]
    return [
        row["name"],
        row["op"],
        row["kernel"].partition(":")[0],  # fused:conv1; the reason names the layer, too
        f"{row['num_kept']:,}" if weights else "–",
        f"{100 * row['num_kept'] / weights:.1f} %" if weights else "–",
        f"{row['macs']:,}" if row["macs"] else "–",
        f"{1e6 * seconds:.1f}" if seconds else "–",
        f"{100 * seconds / total:.1f} %" if seconds else "–",
        _rate(row),
        "–" if row.get("roof_share") is None else f"{100 * row['roof_share']:.0f} %",
        row["reason"],
    ]


def _cold(bench: Json) -> str:
    return f"; cold: {bench['cold']}" if bench.get("cold") else ""


def _rate(row: Json) -> str:
    if row.get("gflops") is not None:
        return f"{row['gflops']:.1f}"
    return f"{2e-9 * row['macs'] / row['seconds']:.1f}" if row["seconds"] and row["macs"] else "–"


def _how(bench: Json) -> str:
    quick = " Quick run: fewer repeats, not to be quoted." if bench["quick"] else ""
    return (
        f"Batch {bench['batch']}, {bench['threads']} thread(s), one process pinned to as many cores, "
        f"engines in turns ({bench['rounds']} rounds), hot weights{_cold(bench)}. "
        f"Memory is that of a fresh process after five inferences.{quick}"
    )
