"""What runs have cost: memory by kind, MACs, examples, and the density of every layer over the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gossamer.report import plots
from gossamer.report.page import Block, Figure, KeyFigures, Section, Table, Text
from gossamer.units import show_macs

Json = Mapping[str, Any]

_KINDS = ("weights", "gradients", "optimizer", "indices", "activations", "total")


def costs(name: str, result: Json) -> Section:
    """One finished run. result: its result.json, with `cost`, `memory` and `sieve`."""
    cost, memory, removal = result["cost"], result["memory"], result["sieve"]
    figures = [
        (show_macs(cost["macs"]).partition(" (")[0], "trained (1 MAC = 2 FLOPs)"),
        (
            f"{100 * cost['macs'] / cost['dense_macs']:.1f} %",
            "of what dense training on these examples costs",
        ),
        (f"{cost['examples']:,}", f"examples seen in {cost['steps']:,} steps"),
        (f"{memory['measured']['total'] / 2**20:,.1f} MiB", "held by training, measured"),
    ]
    blocks: list[Block] = [KeyFigures(figures=tuple(figures)), _memory(memory)]
    blocks.append(Text(text=_MEMORY_NOTE, note=True))
    if removal is not None:
        blocks.append(Text(text=_sieve(removal, cost)))
    if any(point["num_kept"] != cost["sizes"] for point in cost["trace"]):
        caption = "Density of every layer with weights over the training steps, in the order of the network."
        blocks.append(Figure(svg=density_over_steps(cost), caption=caption))
    return Section(title=f"Costs: {name}", blocks=tuple(blocks))


def density_over_steps(cost: Json) -> str:
    """SVG: one row a layer, its share of kept weights in colour. cost: names, sizes, steps and trace of a run."""
    points = cost["trace"]
    shares = [
        [kept / size if size else 0.0 for kept, size in zip(point["num_kept"], cost["sizes"], strict=True)]
        for point in points
    ]
    edges = [*(point["step"] for point in points), max(cost["steps"], points[-1]["step"] + 1)]
    names = [name.removesuffix(".weight") for name in cost["names"]]
    return plots.bands(names, edges, shares, x_label="optimizer steps", colour_label="weights kept, %")


def _memory(memory: Json) -> Table:
    rows = [["measured", *_cells(memory["measured"])]]
    for storage, moments in memory["predicted"].items():
        for moment, found in moments.items():
            what = storage if storage == "dense" else f"{storage}, at the {moment}"
            rows.append([f"predicted {what}", *_cells(found)])
    return Table(header=["MiB", *_KINDS], rows=rows, marked=(0,))


def _cells(found: Json) -> list[str]:
    return [f"{found[kind] / 2**20:,.2f}" for kind in _KINDS]


def _sieve(removal: Json, cost: Json) -> str:
    return (
        f"After epoch {removal['epoch']} the sieve removed {removal['removed']:,} of {removal['num_examples']:,} examples "
        f"({100 * removal['fraction']:.1f} %; {removal['unforgettable']:,} were unforgettable, {removal['forgotten']:,} forgotten, "
        f"{removal['never_learned']:,} never learned). That left out {cost['examples_left_out']:,} presentations and "
        f"{show_macs(cost['macs_left_out'])}."
    )


_MEMORY_NOTE = (
    "Measured: the tensors that existed after the last step, and what one batch keeps for its backward pass. Predicted: by formula, for "
    "this model and optimizer in other storages; the target is the final count of kept weights, the peak the most that each layer has had. "
    "Temporary memory of operations is not in it; gossamer cost measures whole processes."
)
