"""gossamer inspect"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, Output


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A packed file.")],
    threads: Annotated[int, typer.Option(help="Threads to plan for (kernels may depend on it).")] = 1,
    tune: Annotated[
        bool, typer.Option("--tune", help="Measure what might run in each layer and show the fastest.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what is in a packed file: network, layers with format, kept weights, bytes in the file and in memory, kernel
    and why.

    \b
    Examples:
      gossamer inspect model.safetensors
      gossamer inspect model.safetensors --json | python -m json.tool
    """
    from gossamer.cli import packed

    output = Output(json)
    found = packed.describe(file, threads=threads, tune=tune)
    for line in found.lines():
        output.say(line)
    output.table(
        ["layer", "op", "format", "shape", "kept", "of", "density", "on disk", "in memory", "kernel", "why"],
        [row.cells() for row in found.rows],
        right=["kept", "of", "density", "on disk", "in memory"],
    )
    output.result(found.to_dict())
