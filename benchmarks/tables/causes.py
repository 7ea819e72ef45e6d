"""Why it is not faster: the slowest layers of ResNet-50, and what each cause costs in stored measurements."""

from __future__ import annotations

from benchmarks.tables.layers import mean
from benchmarks.tables.networks import cold, is_plain, same_but
from benchmarks.tables.text import provenance, read, table, times, whole


def slowest_layers() -> str:
    """The per-layer table of ResNet-50 at 90 %, batch 1, one thread: the fifteen layers that take the most time."""
    result = read("resnet50")
    rows = [] if result is None else [r for r in result["records"] if is_plain(r, "resnet50")]
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
            whole(row["gflops"]),
            whole(row["intensity"]),
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
    plain = next((r for r in result["records"] if is_plain(r, "resnet50")), None)
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
            twin = next((r for r in result["records"] if same_but(r, plain, key) and r[key] == value), None)
            if twin is None:
                continue
            if key == "batch":
                found.append(
                    [
                        f"batch: {what}",
                        f"ratio {times(twin['ratio_over_best_dense'])} against {times(plain['ratio_over_best_dense'])} with one",
                    ]
                )
            else:
                gain = plain["ms"]["gossamer"] / twin["ms"]["gossamer"]
                found.append([f"threads: {what}", f"{gain:.2f}x faster than one"])
        if (ratio := cold(plain)) is not None:
            found.append(
                ["cold weights", f"ratio {times(ratio)} where caches were rewritten before every call"]
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
        rate = mean([row["effective_gflops"] for row in rows if row["kind"] == kind])
        ratio = mean([row["ratio"] for row in rows if row["kind"] == kind])
        found.append(
            [
                f"kind of layer: {kind}",
                f"{rate:.0f} GFLOP/s over kept weights at 90 %, {ratio:.1f}x over torch",
            ]
        )
    return found
