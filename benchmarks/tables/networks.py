"""Whole networks: ratios, bytes, memory, load; which of their layers run dense."""

from __future__ import annotations

from typing import Any

from benchmarks.tables.text import Result, milliseconds, provenance, read, table, times


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
            *(
                milliseconds(row["ms"].get(key))
                for key in ("onnxruntime", "openvino", "openvino_int8", "gossamer")
            ),
            f"**{times(row['ratio_over_best_dense'])}**",
            times(row["ratio_over_int8"]),
            times(cold(row)),
            "–" if row["max_rel_error"] is None else f"{row['max_rel_error']:.0e}",
        ]
        for row in sorted(result["records"], key=order)
    ]
    masks = dict.fromkeys(row["masks"] for row in result["records"])
    noisy = sum(bool(row["warnings"]) for row in result["records"])
    told = f" {noisy} of {len(rows)} rows were measured on a noisy machine." if noisy else ""
    return "\n\n".join([table(header, rows), provenance(result, f"Masks: {'; '.join(masks)}.{told}")])


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


def order(row: Result) -> tuple[Any, ...]:
    """Where a record stands in a table."""
    return (
        row["network"],
        row.get("dense_isa", ""),
        row["threads"],
        row["batch"],
        row["dtype"],
        row["pattern"],
        row["sparsity"] or 0,
    )


def is_plain(row: Result, network: str) -> bool:
    """The configuration that is quoted first: unstructured at 90 %, float32, one example, one thread."""
    wanted = (network, "unstructured", 0.9, "float32", 1, 1)
    return (
        tuple(row[key] for key in ("network", "pattern", "sparsity", "dtype", "batch", "threads")) == wanted
    )


def same_but(row: Result, other: Result, but: str) -> bool:
    """Two records that differ in `but` alone."""
    keys = {"network", "pattern", "sparsity", "dtype", "batch", "threads", "dense_isa"} - {but}
    return all(row.get(key) == other.get(key) for key in keys)


def cold(row: Result) -> float | None:
    """The ratio where the caches were rewritten before every call."""
    rivals = [row["ms_cold"][name] for name in ("onnxruntime", "openvino") if name in row["ms_cold"]]
    return min(rivals) / row["ms_cold"]["gossamer"] if rivals and "gossamer" in row["ms_cold"] else None
