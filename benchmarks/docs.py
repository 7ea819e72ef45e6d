"""The generated tables and plots of docs/performance.md, docs/why-is-it-not-faster.md and docs/which-pattern-pays.md.

They are made from benchmarks/results/*.json alone; only the text between markers (`<!-- begin NAME -->`, `<!-- end NAME -->`) changes.

    python -m benchmarks.docs            rewrites the pages and docs/plots/*.svg, measures nothing
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from gossamer.files import write_atomic

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"
PAGES = ("performance.md", "why-is-it-not-faster.md", "which-pattern-pays.md")
BLOCK = re.compile(r"<!-- begin ([a-z0-9-]+) -->\n.*?<!-- end \1 -->", re.DOTALL)
SPARSE = ("unstructured", "block:4x1")

Result = dict[str, Any]


def read(name: str) -> Result | None:
    """A stored result; None where nobody has measured it."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown; the first column to the left, the others to the right.

    >>> print(table(["a", "n"], [["x", 1]]))
    | a | n |
    | --- | --: |
    | x | 1 |
    """
    lines = ["| " + " | ".join(header) + " |", "| --- " + "| --: " * (len(header) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def provenance(result: Result, what: str = "") -> str:
    """Where the figures come from, in one paragraph."""
    machine, versions = result["machine"], result["machine"]["versions"]
    named = ", ".join(
        f"{name} {versions[name]}" for name in ("torch", "onnxruntime", "openvino") if name in versions
    )
    features = f" with {', '.join(machine['features'])}" if machine.get("features") else ""
    return f"`{result['command']}`, {machine['cpu']} ({machine['isa']}{features}), {named}, {result['date']}. {what}".strip()


def network_table(name: str) -> str:
    """Ratios of a whole-network script, a row a configuration."""
    result = read(name)
    if result is None:
        return f"Not measured yet: `python benchmarks/{name}.py --store`."
    header = [
        "network", "pattern", "sparsity", "values", "batch", "threads", "ONNX Runtime", "OpenVINO", "int8", "gossamer",
        "over dense", "over int8", "cold, over dense", "error",
    ]  # fmt: skip
    rows = [
        [
            row["network"] + (f" (dense: {row['dense_isa']})" if row.get("dense_isa") else ""),
            row["pattern"],
            "" if row["sparsity"] is None else f"{100 * row['sparsity']:g} %",
            {"float32": "fp32", "float16": "fp16"}[row["dtype"]],
            row["batch"],
            row["threads"],
            *(_ms(row["ms"].get(key)) for key in ("onnxruntime", "openvino", "openvino_int8", "gossamer")),
            f"**{_times(row['ratio_over_best_dense'])}**",
            _times(row["ratio_over_int8"]),
            _times(_cold(row)),
            "–" if row["max_rel_error"] is None else f"{row['max_rel_error']:.0e}",
        ]
        for row in sorted(result["records"], key=_order)
    ]
    masks = dict.fromkeys(row["masks"] for row in result["records"])
    noisy = sum(bool(row["warnings"]) for row in result["records"])
    told = f" {noisy} of {len(rows)} rows were measured on a noisy machine." if noisy else ""
    return "\n\n".join([table(header, rows), provenance(result, f"Masks: {'; '.join(masks)}.{told}")])


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
        cells = [_ratio(found.get((shape, *column))) for column in columns]
        even = break_even(rows, shape, "unstructured")
        least = even is not None and even == min(
            r["sparsity"] for r in rows if r["pattern"] == "unstructured"
        )
        lines.append([shape, *cells, "–" if even is None else f"{'≤ ' if least else ''}{even:.0%}"])
    note = (
        "Times of torch over ours; above 1 we are faster; a star: the planner runs the layer dense. Break-even: the sparsity from which "
        "on unstructured beats torch's dense kernel, between measured points linear."
    )
    return "\n\n".join([table(header, lines), provenance(result, note)])


def break_even(rows: Sequence[Result], shape: str, pattern: str) -> float | None:
    """Lowest sparsity from which on the sparse kernel beats dense; None where it never does."""
    points = sorted(
        (row["sparsity"], row["ratio"])
        for row in rows
        if row["shape"] == shape and row["pattern"] == pattern and "dense" not in row["kernel"]
    )
    if not points or points[-1][1] < 1:
        return None
    for (low, slow), (high, fast) in pairwise(points):
        if slow < 1 <= fast:
            return float(low + (high - low) * (1 - slow) / (fast - slow))
    return float(points[0][0])


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
        [*key, _times(ratios.get("hot")), _times(ratios.get("from memory"))] for key, ratios in cells.items()
    ]
    return "\n\n".join(
        [table(header, lines), provenance(result, "Over the faster of torch and NumPy, dense.")]
    )


def startup_table() -> str:
    """Bytes, load, memory, call overhead."""
    result = read("startup")
    if result is None:
        return "Not measured yet: `python benchmarks/startup.py --store`."
    row = result["records"][0]
    lines = [
        [
            "packed file, every layer but the stem at 90 %",
            f"1/{row['smaller_all_but_stem_sparse']:.1f} of dense float32",
        ],
        ["packed file, classifier dense fp16", f"1/{row['smaller_classifier_dense']:.1f} of dense float32"],
        ["load to first result", f"{row['load_to_first_result_ms']:.0f} ms"],
        ["of it load and plan", f"{row['load_ms']:.0f} ms"],
        ["resident memory of a fresh process", f"{row['resident_bytes'] / 2**20:.0f} MiB"],
        ["the same, ONNX Runtime", f"{row['onnxruntime_resident_bytes'] / 2**20:.0f} MiB"],
        ["share of ONNX Runtime's", f"{row['resident_share']:.2f}"],
        ["call overhead from Python, 4x4 linear layer", f"{row['call_overhead_us']:.1f} µs"],
    ]
    return "\n\n".join([table(["ResNet-50, 90 % unstructured, fp16 values", ""], lines), provenance(result)])


def fallbacks_table() -> str:
    """Layers of the really trained networks that run dense."""
    result = read("efficientnet_lite0")
    if result is None:
        return ""
    lines = [
        [
            row["network"],
            f"{100 * row['sparsity']:g} %",
            item["name"],
            item["kernel"],
            f"{item['share']:.1%}",
            item["reason"],
        ]
        for row in result["records"]
        for item in row["fallbacks"]
    ]
    return table(["network", "sparsity", "layer", "kernel", "share of the time", "why"], lines)


def slowest_layers() -> str:
    """The per-layer table of ResNet-50 at 90 %, batch 1, one thread: the fifteen layers that take the most time."""
    result = read("resnet50")
    rows = [] if result is None else [r for r in result["records"] if _plain(r, "resnet50")]
    if result is None or not rows:
        return "Not measured yet: `python benchmarks/resnet50.py --store`."
    layers = sorted(rows[0]["layers"], key=lambda row: -row["seconds"])[:15]
    header = ["layer", "kernel", "µs", "share", "GFLOP/s", "FLOP/byte", "of roof", "kept", "why"]
    lines = [
        [
            row["name"],
            row["kernel"],
            f"{1e6 * row['seconds']:.0f}",
            f"{row['share']:.1%}",
            _number(row["gflops"]),
            _number(row["intensity"]),
            "–" if row["roof_share"] is None else f"{row['roof_share']:.0%}",
            f"{row['num_kept'] / row['num_weights']:.0%}" if row["num_weights"] else "–",
            row["reason"],
        ]
        for row in layers
    ]
    return "\n\n".join([table(header, lines), provenance(result)])


def causes() -> str:
    """What each cause costs in stored measurements."""
    lines = [*_resnet_causes(), *_layer_causes()]
    if not lines:
        return "Not measured yet: `python -m benchmarks.all`."
    return table(["cause", "measured"], lines)


def _resnet_causes() -> list[list[str]]:
    result = read("resnet50")
    if result is None:
        return []
    found: list[list[str]] = []
    plain = next((r for r in result["records"] if _plain(r, "resnet50")), None)
    if plain is not None:
        dense = [
            row for row in plain["layers"] if row["num_weights"] and row["num_kept"] == row["num_weights"]
        ]
        share = sum(row["share"] for row in dense)
        found.append(
            [
                f"dense layers left ({', '.join(row['name'] for row in dense)})",
                f"{share:.0%} of the time of ResNet-50 at 90 %",
            ]
        )
        other = sum(row["share"] for row in plain["layers"] if not row["num_weights"])
        found.append(["layers without weights (pooling, copies)", f"{other:.0%} of the time"])
        for what, key, value in (("eight examples", "batch", 8), ("two threads", "threads", 2)):
            twin = next((r for r in result["records"] if _same(r, plain, key) and r[key] == value), None)
            if twin is None:
                continue
            if key == "batch":
                found.append(
                    [
                        f"batch: {what}",
                        f"ratio {_times(twin['ratio_over_best_dense'])} against {_times(plain['ratio_over_best_dense'])} with one",
                    ]
                )
            else:
                gain = plain["ms"]["gossamer"] / twin["ms"]["gossamer"]
                found.append([f"threads: {what}", f"{gain:.2f}x faster than one"])
        if (cold := _cold(plain)) is not None:
            found.append(
                ["cold weights", f"ratio {_times(cold)} where caches were rewritten before every call"]
            )
    return found


def _layer_causes() -> list[list[str]]:
    result = read("layers")
    if result is None:
        return []
    rows = [row for row in result["rows"] if row["pattern"] == "unstructured" and row["sparsity"] == 0.9]
    kinds = dict.fromkeys(row["kind"] for row in rows)
    found = []
    for kind in kinds:
        rate = _mean([row["effective_gflops"] for row in rows if row["kind"] == kind])
        ratio = _mean([row["ratio"] for row in rows if row["kind"] == kind])
        found.append(
            [
                f"kind of layer: {kind}",
                f"{rate:.0f} GFLOP/s over kept weights at 90 %, {ratio:.1f}x over torch",
            ]
        )
    return found


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
            cells.append(f"{_mean(some):.2f}x" if some else "–")
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


def plot(name: str) -> str:
    """A reference to a plot of docs/plots, which `main` draws."""
    return f"![{name}: times faster than the best dense engine](plots/{name}.svg)" if read(name) else ""


BLOCKS: dict[str, Callable[[], str]] = {
    **{
        name: lambda name=name: network_table(name)  # type: ignore[misc]
        for name in ("resnet50", "mobilenet", "transformer", "rnn")
    },
    "efficientnet-lite0": lambda: network_table("efficientnet_lite0"),
    "efficientnet-lite0-fallbacks": fallbacks_table,
    "resnet50-plot": lambda: plot("resnet50"),
    "layers": layers_table,
    "spmv": spmv_table,
    "startup": startup_table,
    "slowest-layers": slowest_layers,
    "causes": causes,
    "which-layers": which_layers,
    "kept-scores": kept_scores,
}


def filled(text: str) -> str:
    """The page with every marked block made anew."""
    return BLOCK.sub(
        lambda found: f"<!-- begin {found[1]} -->\n{BLOCKS[found[1]]()}\n<!-- end {found[1]} -->", text
    )


def draw() -> None:
    """docs/plots/resnet50.svg: ratio over sparsity, a line a pattern (batch 1, one thread, float32)."""
    from gossamer.report import plots

    result = read("resnet50")
    if result is None:
        return
    series: dict[str, tuple[list[float], list[float]]] = {}
    for row in sorted(result["records"], key=_order):
        if (
            row["network"] == "resnet50"
            and (row["batch"], row["threads"], row["dtype"]) == (1, 1, "float32")
            and not row.get("dense_isa")
        ):
            x, y = series.setdefault(row["pattern"], ([], []))
            x.append(100 * row["sparsity"])
            y.append(row["ratio_over_best_dense"])
    svg = plots.lines(series, x_label="sparsity, %", y_label="times faster than the best dense engine")
    (DOCS / "plots").mkdir(exist_ok=True)
    write_atomic(DOCS / "plots" / "resnet50.svg", svg.encode())


def _order(row: Result) -> tuple[Any, ...]:
    return (
        row["network"],
        row.get("dense_isa", ""),
        row["threads"],
        row["batch"],
        row["dtype"],
        row["pattern"],
        row["sparsity"] or 0,
    )


def _plain(row: Result, network: str) -> bool:
    wanted = (network, "unstructured", 0.9, "float32", 1, 1)
    return (
        tuple(row[key] for key in ("network", "pattern", "sparsity", "dtype", "batch", "threads")) == wanted
    )


def _same(row: Result, other: Result, but: str) -> bool:
    keys = {"network", "pattern", "sparsity", "dtype", "batch", "threads", "dense_isa"} - {but}
    return all(row.get(key) == other.get(key) for key in keys)


def _cold(row: Result) -> float | None:
    rivals = [row["ms_cold"][name] for name in ("onnxruntime", "openvino") if name in row["ms_cold"]]
    return min(rivals) / row["ms_cold"]["gossamer"] if rivals and "gossamer" in row["ms_cold"] else None


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}x"


def _ratio(row: Result | None) -> str:
    if row is None:
        return ""
    return f"{row['ratio']:.2f}{'*' if 'dense' in row['kernel'] and row['pattern'] != 'dense' else ''}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _mean(values: Sequence[float]) -> float:
    return float(prod(values) ** (1 / len(values)))


def main() -> None:
    """Rewrite the pages and the plots."""
    draw()
    for name in PAGES:
        page = DOCS / name
        write_atomic(page, filled(page.read_text()).encode())
        print(page)


if __name__ == "__main__":
    main()
