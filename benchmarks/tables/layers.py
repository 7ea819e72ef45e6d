"""Single layers and single products: ratios by pattern and sparsity, break-even, what a pattern costs in score."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from benchmarks.tables.text import Result, provenance, read, table, times
from gossamer.bench.break_even import told

SPARSE = ("unstructured", "block:4x1")


def layers_table() -> str:
    """Ratio over torch, a line a layer, for the two patterns of the floors; with the break-even sparsity."""
    result = read("layers")
    if result is None:
        return "Not measured yet: `python benchmarks/layers.py --store`."
    rows = result["rows"]
    columns = list(
        dict.fromkeys((r["pattern"], r["sparsity"]) for r in rows if r["pattern"] in ("dense", *SPARSE))
    )
    found = {(r["shape"], r["pattern"], r["sparsity"]): r for r in rows}
    shapes = list(dict.fromkeys(r["shape"] for r in rows))
    header = ["layer", *("dense" if p == "dense" else f"{p} {s:.0%}" for p, s in columns), "break-even"]
    lines = []
    for shape in shapes:
        cells = [ratio(found.get((shape, *column))) for column in columns]
        lines.append([shape, *cells, told(rows, shape, "unstructured") or "–"])
    note = (
        "Times of torch over ours; above 1 we are faster; a star: the planner runs the layer dense. Break-even: the sparsity from which "
        "on unstructured beats torch's dense kernel, between measured points linear; ≤: it does at the lowest one measured already."
    )
    return "\n\n".join([table(header, lines), provenance(result, note)])


def spmv_table() -> str:
    """Matrix times vector, hot and from memory."""
    result = read("spmv")
    if result is None:
        return "Not measured yet: `python -m benchmarks.spmv`."
    cells: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in result["rows"]:
        key = (row["shape"], row["pattern"], row["values"], f"{row['sparsity']:.0%}", row["kernel"])
        cells.setdefault(key, {})[row["weights"]] = row["ratio"]
    header = ["shape", "pattern", "values", "sparsity", "kernel", "hot", "from memory"]
    lines = [
        [*key, times(ratios.get("hot")), times(ratios.get("from memory"))] for key, ratios in cells.items()
    ]
    return "\n\n".join(
        [table(header, lines), provenance(result, "Over the faster of torch and NumPy, dense.")]
    )


def which_layers() -> str:
    """Geometric means of the ratio by kind of layer, pattern and sparsity."""
    result = read("layers")
    if result is None:
        return "Not measured yet: `python benchmarks/layers.py --store`."
    rows = [row for row in result["rows"] if row["pattern"] != "dense"]
    sparsities = sorted({row["sparsity"] for row in rows})
    keys = dict.fromkeys((row["kind"], row["pattern"]) for row in sorted(rows, key=lambda row: row["kind"]))
    lines = []
    for kind, pattern in keys:
        cells = []
        for sparsity in sparsities:
            some = [
                r["ratio"]
                for r in rows
                if (r["kind"], r["pattern"], r["sparsity"]) == (kind, pattern, sparsity)
            ]
            cells.append(f"{mean(some):.2f}x" if some else "–")
        lines.append([kind, f"`{pattern}`", *cells])
    header = ["kind of layer", "pattern", *(f"{sparsity:.0%}" for sparsity in sparsities)]
    return "\n\n".join(
        [
            table(header, lines),
            provenance(result, "Geometric means over the layers of a kind, over torch, one thread."),
        ]
    )


def kept_scores() -> str:
    """What a pattern costs in score, beside the best unstructured mask of the same sparsity."""
    result = read("patterns")
    if result is None:
        return "Not measured yet: `python benchmarks/patterns.py`."
    lines = [
        [f"`{row['pattern']}`", f"{row['kept_mean']:.1%}", f"{row['kept_lowest']:.1%}"]
        for row in result["rows"]
    ]
    shape = "x".join(map(str, result["shape"]))
    note = f"Normal random weights {shape} at {result['sparsity']:.1%}, score |w|, {result['draws']} draws."
    return "\n\n".join([table(["pattern", "kept score, mean", "lowest"], lines), provenance(result, note)])


def ratio(row: Result | None) -> str:
    """A ratio with a star where the planner runs the layer dense."""
    if row is None:
        return ""
    return f"{row['ratio']:.2f}{'*' if 'dense' in row['kernel'] and row['pattern'] != 'dense' else ''}"


def mean(values: Sequence[float]) -> float:
    """The geometric mean."""
    return float(prod(values) ** (1 / len(values)))
