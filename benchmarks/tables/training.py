"""Training steps: compact layers over torch, our masks and SparseLab; memory beside it."""

from __future__ import annotations

from benchmarks.tables.text import Result, milliseconds, provenance, read, table, times, whole

HEADER = ("network", "pattern", "sparsity", "dense ms", "compact ms", "over dense", "over masked")
MEMORY = ("over SparseLab", "memory", "peak MiB", "dense MiB")


NAMES = {"set": "SET", "mest": "MEST-EM&S"}


def training_table() -> str:
    """A line a network, pattern, sparsity and optimizer."""
    result = read("training_step")
    if result is None:
        return "Not measured yet: `python benchmarks/training_step.py --store`."
    version = result["machine"]["versions"].get("sparselab")
    lines = [line(record) for record in sorted(result["records"], key=order)]
    note = (
        "One thread, float32, uniform random masks; batch in brackets. A step is forward, cross entropy, gradients, update (SGD with "
        "momentum unless named). Ratios of minima, over the faster of NCHW and channels_last. Memory: weights, gradients, Adam's state "
        "and places over dense. Peak: largest resident set of five steps in a fresh process, over the process before the network was "
        "built; with a method, two of the five end with an edit (MEST-EM&S: up to 1.1 times the target density)."
    )
    note += f" SparseLab: package `sparselab` {version}." if version else ""
    return "\n\n".join([table([*HEADER, *MEMORY], lines), provenance(result, note)])


def line(record: Result) -> list[str]:
    ms = record["ms"]
    optimizer = "" if record["optimizer"] == "sgd" else f", {record['optimizer'].capitalize()}"
    method = "" if record["method"] == "static" else f", {NAMES[record['method']]}"
    return [
        f"{record['network']} ({record['batch']}){optimizer}{method}",
        f"`{record['pattern']}`",
        "–" if record["sparsity"] is None else f"{record['sparsity']:.0%}",
        milliseconds(min(value for name, value in ms.items() if name.startswith("dense"))),
        milliseconds(ms["compact"]),
        *(times(record[f"ratio_over_{name}"]) for name in ("dense", "masked", "sparselab")),
        f"{record['memory_ratio']:.3f}",
        whole(record["peak_mib"]),
        whole(record["peak_mib_dense"]),
    ]


def storages_table() -> str:
    """Masked and compact storage from the same seeds, a line a recipe."""
    result = read("storages")
    if result is None:
        return "Not measured yet: `python -m benchmarks.storages`."
    header = ("recipe", "masked, %", "compact, %", "compact less masked, points", "spread of the masked runs")
    lines = [
        [
            " ".join([f"`{row['recipe']}`", *row["settings"]]),
            *(_interval(row[name]) for name in ("masked", "compact", "difference")),
            f"{row['spread']:.2f}",
        ]
        for row in result["rows"]
    ]
    note = (
        "Final test accuracy; means over seeds with 95 % t intervals, the difference paired by seed. Spread: largest less smallest "
        "accuracy of the masked runs."
    )
    return "\n\n".join([table(header, lines), provenance(result, note)])


def _interval(found: Result) -> str:
    return f"{found['mean']:.2f}" + ("" if found["half"] is None else f" ± {found['half']:.2f}")


def order(record: Result) -> tuple[str, bool, bool, str, float]:
    """MLP first."""
    rank = ["mlp", "resnet20", "cnn"].index(record["network"].split()[0])
    pattern = "" if record["pattern"] == "unstructured" else record["pattern"]
    return (
        f"{rank}{record['network']}",
        record["optimizer"] != "sgd",
        record["method"] != "static",
        pattern,
        record["sparsity"] or 0.0,
    )
