"""Drawings for reports: matplotlib figures as inline SVG, one style for all."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gossamer.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMES = 40

COLOURS = {"gossamer": "#0b7285", "other": "#b7c0cb", "dense": "#868e96", "sparse": "#0b7285"}


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    percent: bool = False,
) -> str:
    """One line a series: name -> (x, y). Names `dense` and `sparse` keep their colours in every report."""
    figure, axes = _figure(7.2, 3.2)
    for name, (x, y) in series.items():
        axes.plot(
            x,
            [100 * value for value in y] if percent else y,
            marker="o",
            ms=3,
            label=name,
            color=COLOURS.get(name),
        )
    axes.set_xlim(left=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", alpha=0.3)
    if len(series) > 1:
        axes.legend(frameon=False)
    return _svg(figure)


def intervals(
    series: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    x_label: str,
    y_label: str,
    level: tuple[str, float] | None = None,
) -> str:
    """One line a series of (x, y, half of y's interval), with error bars; `level` is a name and a value, drawn as a dashed line."""
    figure, axes = _figure(7.2, 4.0)
    if level is not None:
        axes.axhline(level[1], color=COLOURS["dense"], ls="--", lw=1, label=level[0])
    for place, (name, points) in enumerate(series.items()):
        x, y, half = zip(*points, strict=True)
        shifted = [
            value + 0.12 * (place - (len(series) - 1) / 2) for value in x
        ]  # bars at one x stand side by side
        axes.errorbar(shifted, y, half, marker="o", ms=3, lw=1, capsize=2, label=name)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return _svg(figure)


def bars(values: Mapping[str, float], *, unit: str, marked: Sequence[str] = (), digits: int = 2) -> str:
    """One horizontal bar a name, its value written at the end; marked names stand out."""
    figure, axes = _figure(7.2, 0.5 + 0.36 * len(values))
    names = list(values)
    colours = [COLOURS["gossamer"] if name in marked else COLOURS["other"] for name in names]
    drawn = axes.barh(range(len(names)), [values[name] for name in names], color=colours, height=0.62)
    labels = [f"{values[name]:,.{digits}f} {unit}" for name in names]
    axes.bar_label(drawn, labels=labels, fontsize=9, padding=4)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22 * max(0.0, *values.values()) or 1.0)
    axes.xaxis.set_visible(False)
    axes.spines[["bottom"]].set_visible(False)
    return _svg(figure)


def columns(values: Mapping[str, float], *, y_label: str, percent: bool = False) -> str:
    """One upright bar a name, for many names (layers); more than 40 are numbered in their order."""
    figure, axes = _figure(min(11.0, max(7.2, 0.3 * len(values))), 3.2)
    heights = [100 * value if percent else value for value in values.values()]
    if len(values) > MOST_NAMES:
        axes.bar(range(1, len(values) + 1), heights, color=COLOURS["gossamer"], width=0.9)
        axes.set_xlabel("number of the layer")
    else:
        axes.bar(range(len(values)), heights, color=COLOURS["gossamer"], width=0.7)
        axes.set_xticks(range(len(values)), list(values), rotation=60, ha="right", fontsize=8)
    axes.set_xmargin(0.01)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", alpha=0.3)
    return _svg(figure)


def bands(
    names: Sequence[str],
    edges: Sequence[float],
    values: Sequence[Sequence[float]],
    *,
    x_label: str,
    colour_label: str,
) -> str:
    """One horizontal band a name. Between edges[i] and edges[i + 1] it has the colour of values[i][its place], shares of 1."""
    figure, axes = _figure(8.0, 1.0 + min(0.22 * len(names), 7.0))
    rows = [[100 * moment[place] for moment in values] for place in range(len(names))]
    mesh = axes.pcolormesh(
        edges, range(len(names) + 1), rows, cmap="YlGnBu", vmin=0, vmax=100, rasterized=True
    )
    figure.colorbar(mesh, ax=axes, label=colour_label)
    if len(names) > MOST_NAMES:
        axes.set_ylabel("number of the layer")
    else:
        axes.set_yticks([place + 0.5 for place in range(len(names))], list(names), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(x_label)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "drawing a report needs matplotlib: install it with pip install 'gossamer[train]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    """SVG markup without the XML prologue; ids are stable, so that equal data give equal pages."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "gossamer", "svg.fonttype": "none", "font.family": "DejaVu Sans"}
    ):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    markup = buffer.getvalue()
    return re.sub(r"^.*?(?=<svg)", "", markup, flags=re.DOTALL)
