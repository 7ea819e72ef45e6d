"""The generated tables and plots of docs/performance.md, docs/methods-compared.md and two more pages.

They are made from benchmarks/results/*.json alone (benchmarks/tables/ has them by subject); only the text between markers
(`<!-- begin NAME -->`, `<!-- end NAME -->`) changes.

    python -m benchmarks.docs            rewrites the pages and docs/plots/*.svg, measures nothing
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.tables.causes import causes, slowest_layers
from benchmarks.tables.layers import kept_scores, layers_table, spmv_table, which_layers
from benchmarks.tables.methods import (
    choices_table,
    draw_methods,
    methods_table,
    settings_table,
    sieve_text,
    verdicts_table,
)
from benchmarks.tables.networks import fallbacks_table, network_table, order, startup_table
from benchmarks.tables.text import read
from benchmarks.tables.training import storages_table, training_table
from gossamer.files import write_atomic
from gossamer.report import plots

DOCS = Path(__file__).parents[1] / "docs"
NETWORKS = ("resnet50", "mobilenet", "transformer", "rnn")
PAGES = ("performance.md", "why-is-it-not-faster.md", "which-pattern-pays.md", "methods-compared.md")
BLOCK = re.compile(r"<!-- begin ([a-z0-9-]+) -->\n.*?<!-- end \1 -->", re.DOTALL)


def methods_plot() -> str:
    """A reference to the study's plot, which `main` draws."""
    picture = "![accuracy against sparsity at equal training cost](plots/methods.svg)"
    return picture if draw_methods() is not None else ""


def plot(name: str) -> str:
    """A reference to a plot of docs/plots, which `main` draws."""
    return f"![{name}: times faster than the best dense engine](plots/{name}.svg)" if read(name) else ""


BLOCKS: dict[str, Callable[[], str]] = {
    **{name: lambda name=name: network_table(name) for name in NETWORKS},  # type: ignore[misc]
    **{f"{name}-plot": lambda name=name: plot(name) for name in NETWORKS},  # type: ignore[misc]
    "efficientnet-lite0": lambda: network_table("efficientnet_lite0"),
    "efficientnet-lite0-fallbacks": fallbacks_table,
    "layers": layers_table,
    "spmv": spmv_table,
    "startup": startup_table,
    "training-step": training_table,
    "storages": storages_table,
    "slowest-layers": slowest_layers,
    "causes": causes,
    "which-layers": which_layers,
    "kept-scores": kept_scores,
    "methods": methods_table,
    "methods-plot": methods_plot,
    "methods-verdicts": verdicts_table,
    "methods-sieve": sieve_text,
    "methods-choices": choices_table,
    "methods-settings": settings_table,
}


def filled(text: str) -> str:
    """The page with every marked block made anew."""
    return BLOCK.sub(
        lambda found: f"<!-- begin {found[1]} -->\n{BLOCKS[found[1]]()}\n<!-- end {found[1]} -->", text
    )


def draw(name: str) -> None:
    """docs/plots/NAME.svg: ratio over sparsity, a line a network and pattern (batch 1, one thread, float32)."""
    result = read(name)
    if result is None:
        return
    series: dict[str, tuple[list[float], list[float]]] = {}
    for row in sorted(result["records"], key=order):
        if (row["batch"], row["threads"], row["dtype"]) == (1, 1, "float32") and not row.get("dense_isa"):
            x, y = series.setdefault(f"{row['network']}, {row['pattern']}", ([], []))
            x.append(100 * row["sparsity"])
            y.append(row["ratio_over_best_dense"])
    svg = plots.lines(series, x_label="sparsity, %", y_label="times faster than dense")
    (DOCS / "plots").mkdir(exist_ok=True)
    write_atomic(DOCS / "plots" / f"{name}.svg", svg.encode())


def main() -> None:
    """Rewrite the pages and the plots."""
    for name in NETWORKS:
        draw(name)
    study = draw_methods()
    if study is not None:
        write_atomic(DOCS / "plots" / "methods.svg", study.encode())
    for name in PAGES:
        page = DOCS / name
        write_atomic(page, filled(page.read_text()).encode())
        print(page)


if __name__ == "__main__":
    main()
