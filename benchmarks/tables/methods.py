"""The study of methods: accuracy at equal training cost with intervals, the verdicts on the claim, and what settings were tried."""

from __future__ import annotations

from benchmarks.study.statistics import joined
from benchmarks.tables.text import Result, provenance, read, table
from gossamer.report import plots

NOT_YET = "Not run yet: `python benchmarks/methods.py`, then `--collect`."


def methods_table() -> str:
    """A line a row of the study."""
    result = read("methods")
    if result is None:
        return NOT_YET
    header = [
        "group",
        "method",
        "pattern",
        "accuracy, %",
        "seeds",
        "epochs",
        "cost",
        "peak density",
        "CPU, s",
        "row",
    ]
    lines = [
        [
            row["group"],
            _label(row),
            row["pattern"],
            _accuracy(row),
            f"{len(row['seeds'])} of {len(row['wanted_seeds'])}",
            f"{row['epochs']:.1f}" if row["seeds"] else "–",
            f"{row['dense_epochs']:.2f}" if row["seeds"] else "–",
            f"{100 * row['peak_density']:.1f} %" if row["seeds"] else "–",
            f"{row['cpu_seconds']:.0f}" if row["seeds"] else "–",
            "full" if row["full"] else "reduced" if row["seeds"] else "not run",
        ]
        for row in sorted(result["rows"], key=_order)
    ]
    told = (
        f"Means over seeds with 95 % t intervals. Cost: dense epochs of multiply-accumulates, forward and backward, all workers together; "
        f"every sparse row may spend what {result['static_epochs']} epochs of a static mask of its sparsity cost. "
        f"Commits of the runs: {', '.join(_commits(result))}."
    )
    return "\n\n".join([table(header, lines), provenance(result, told)])


def verdicts_table() -> str:
    """The claim, pair by pair."""
    result = read("methods")
    if result is None:
        return NOT_YET
    labels = {row["method"]: row["label"] for row in result["rows"]}
    lines = [
        [
            f"{labels[entry['first']]} over {labels[entry['over']]}",
            f"{100 * entry['sparsity']:g} %",
            _difference(entry),
            entry["verdict"],
        ]
        for entry in result["verdicts"]
    ]
    summary = ", ".join(
        f"{joined([entry['verdict'] for entry in result['verdicts'] if entry['sparsity'] == sparsity])} at {100 * sparsity:g} %"
        for sparsity in dict.fromkeys(entry["sparsity"] for entry in result["verdicts"])
    )
    pairs = table(["claim", "sparsity", "difference, points", "verdict"], lines)
    return f"The claim as a whole: **{summary}**.\n\n{pairs}"


def sieve_text() -> str:
    """EM&S with the sieve against EM&S without it."""
    result = read("methods")
    entry = None if result is None else result["sieve"]
    if not entry or not entry["seeds"]:
        return "Not run yet."
    claim = entry["claim"]
    return (
        f"With the sieve less without it: {_difference(entry)} points over {entry['seeds']} of {entry['wanted_seeds']} seeds; "
        f"at least {100 * entry['removed']:.1f} % of the examples were removed. No more than {claim['loss']:g} points lost while at least "
        f"{100 * claim['removed']:g} % are removed: **{entry['verdict']}**."
    )


def choices_table() -> str:
    """What was tried on validation images."""
    result = read("methods")
    if result is None or not result["choices"]:
        return NOT_YET
    lines = [
        [_label(row), _settings(row), f"{row['lr']:g}", _accuracy(row), len(row["seeds"])]
        for row in result["choices"]
        if row["seeds"]
    ]
    return table(["method", "settings", "learning rate", "accuracy on validation images, %", "seeds"], lines)


def settings_table() -> str:
    """What the rows at 95 % ran with."""
    result = read("methods")
    if result is None:
        return NOT_YET
    rows = [row for row in result["rows"] if row["group"] == "95 %" and row["method"] != "dense"]
    return table(["method", "settings"], [[row["label"], _settings(row) or "–"] for row in rows])


def draw_methods() -> str | None:
    """Accuracy over sparsity as SVG, a line a method; None where no run is stored."""
    result = read("methods")
    if result is None or not any(row["seeds"] for row in result["rows"]):
        return None
    series: dict[str, list[tuple[float, float, float]]] = {}
    for row in result["rows"]:
        plain = row["pattern"] == "unstructured" and row["data"] == "embedded" and row["equal_cost"]
        if plain and row["seeds"] and row["sparsity"] is not None and "sieve" not in row["settings"]:
            point = (100 * row["sparsity"], row["accuracy"], row["interval"] or 0.0)
            series.setdefault(row["label"], []).append(point)
    dense = next((row for row in result["rows"] if row["method"] == "dense" and not row["equal_cost"]), None)
    level = (
        None
        if dense is None or not dense["seeds"]
        else (f"dense, {dense['epochs']:g} epochs", dense["accuracy"])
    )
    points = {name: sorted(set(found)) for name, found in series.items()}
    return plots.intervals(points, x_label="sparsity, %", y_label="accuracy, %", level=level)


def _order(row: Result) -> int:
    """Groups by sparsity from 95 % on, the others behind them, each as the plan has it."""
    known = ("95 %", "98 %", "90 %", "80 %")
    return known.index(row["group"]) if row["group"] in known else len(known)


def _label(row: Result) -> str:
    extra = " with the sieve" if row["settings"].get("sieve") else ""
    if row["method"] == "dense" and row["equal_cost"]:
        extra = " at equal cost"
    longer = "" if row["equal_cost"] or not row["seeds"] else f", {row['epochs']:g} epochs"
    return f"{row['label']}{extra}{longer}"


def _settings(row: Result) -> str:
    return ", ".join(f"{name} {value}" for name, value in row["settings"].items())


def _accuracy(row: Result) -> str:
    if not row["seeds"]:
        return "–"
    return f"{row['accuracy']:.2f}" + ("" if row["interval"] is None else f" ± {row['interval']:.2f}")


def _difference(entry: Result) -> str:
    if entry["difference"] is None:
        return "–"
    return f"{entry['difference']:+.2f}" + (
        "" if entry["interval"] is None else f" ± {entry['interval']:.2f}"
    )


def _commits(result: Result) -> list[str]:
    return sorted({run["commit"] for run in result["runs"]})
