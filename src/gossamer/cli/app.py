"""The application: all subcommands, and what becomes of errors.

Exit codes: 0 done, 1 a measured check failed, 2 wrong use or wrong input (one line `error: …`, no traceback), 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from gossamer._version import __version__
from gossamer.cli import bench, cost, data, doctor, inspect, pack, prune, recipes, report, run_file, train
from gossamer.cli.extras import missing_extra
from gossamer.errors import GossamerError

app = typer.Typer(
    name="gossamer",
    help="Train sparse neural networks, pack them into one small file, measure and run them.",
    epilog="Start with: gossamer train fashion-mnist-resnet20-gradual --quick",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    del version


app.command("train")(train.train)
app.command("prune")(prune.prune)
app.command("pack")(pack.pack)
app.command("inspect")(inspect.inspect)
app.command("bench")(bench.bench)
app.command("run")(run_file.run)
app.command("cost")(cost.cost)
app.command("report")(report.report)
app.add_typer(data.app, name="data")
app.add_typer(recipes.app, name="recipes")
app.command("doctor")(doctor.doctor)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    stdout = sys.stdout
    try:
        return _run(arguments)
    except GossamerError as error:
        sys.stdout = stdout
        return _failed(error, arguments)
    finally:
        sys.stdout = stdout


def _run(arguments: list[str]) -> int:
    try:
        app(arguments, prog_name="gossamer", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except ModuleNotFoundError as error:
        mended = missing_extra(error)
        if mended is None:
            raise
        raise mended from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    return 0


def _failed(error: GossamerError, arguments: list[str]) -> int:
    if "--json" in arguments:
        print(json.dumps({"error": str(error), "kind": type(error).__name__}))
    interrupted = type(error).__name__ == "Interrupted"
    print(error if interrupted else f"error: {error}", file=sys.stderr)
    return 130 if interrupted else 2
