"""gossamer cost"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gossamer.cli.output import Json, Output
from gossamer.errors import GossamerError

KINDS = ("weights", "gradients", "optimizer", "indices", "activations", "total")


def cost(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name of a shipped recipe or a .yaml file.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings on top, such as threads=1.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps that each fresh process trains.")] = 3,
    plot: Annotated[
        Path | None, typer.Option(help="SVG file: density of every layer over the steps of the run.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer images and epochs.")] = False,
    json: Json = False,
) -> None:
    """Say what training a recipe costs: memory by kind, predicted and measured; MACs and examples.

    Starts one fresh process for dense, masked and compact training each, which makes the first steps; predicts the rest by formula.

    \b
    Examples:
      gossamer cost fashion-mnist-resnet20-set threads=1
      gossamer cost mine.yaml --steps 10 --plot density.svg --json
    """
    from gossamer.files import check_place, write_atomic
    from gossamer.recipes import costing, document, library
    from gossamer.report.costs import density_over_steps
    from gossamer.units import show_macs

    if steps < 1:
        raise GossamerError(f"--steps: expected at least 1, got {steps}")
    if plot is not None:
        check_place(plot)
    output = Output(json)
    found = costing.costs_of(
        document.with_overrides(library.document_of(recipe), overrides or []), steps=steps, quick=quick
    )
    output.table(["MiB", *KINDS, "process adds"], _rows(found), right=[*KINDS, "process adds"])
    for storage, row in found["measured"].items():
        if "error" in row:
            output.say(f"{storage} was not measured: {row['error']}")
    run = found["run"]
    output.say(
        f"the whole run: {run['steps']:,} steps, {run['examples']:,} examples, {show_macs(run['macs'])}, "
        f"{run['macs'] / run['dense_macs']:.1%} of dense training"
    )
    if plot is not None:
        write_atomic(plot, density_over_steps(run).encode())
        output.say(f"wrote {plot}")
    output.result({**found, **({} if plot is None else {"plot": str(plot)})})


def _rows(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for storage, predicted in found["predicted"].items():
        for moment, memory in predicted.items():
            what = storage if storage == "dense" else f"{storage}, {moment}"
            rows.append([f"{what}: predicted", *(_mib(memory[kind]) for kind in KINDS), ""])
        measured = found["measured"][storage]
        if "error" not in measured:
            cells = [_mib(measured["memory"][kind]) for kind in KINDS]
            label = f"{storage}: measured after {found['steps']} steps"
            rows.append([label, *cells, _mib(measured["process"]["added"])])
    return rows


def _mib(number: int) -> str:
    return f"{number / 2**20:,.2f}"
