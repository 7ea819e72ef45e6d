"""gossamer train"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, Output
from gossamer.cli.progress import TrainingView, duration
from gossamer.errors import CheckpointError


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="Name of a shipped recipe (gossamer recipes list) or a .yaml file."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings on top, such as train.epochs=3 seed=1."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/NAME.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer images and epochs, to try things; never quoted.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, removing the run that is in the folder.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Fail where there is nothing to resume.")] = False,
    json: Json = False,
) -> None:
    """Train a network as a recipe says.

    An unfinished run of the same recipe in the same folder is resumed, bit for bit as if it had not been interrupted.
    Ctrl-C saves the state and stops.

    \b
    Examples:
      gossamer train fashion-mnist-resnet20-gradual
      gossamer train fashion-mnist-resnet20-gradual method.sparsity=0.95 seed=1 --out runs/s95
      gossamer train my-recipe.yaml --quick
    """
    from gossamer.recipes import document, library, loop, validate
    from gossamer.recipes.run_folder import RunFolder

    output = Output(json)
    if fresh and resume:
        raise CheckpointError("--fresh and --resume exclude each other: one starts over, the other goes on")
    found = document.with_overrides(library.document_of(recipe), overrides or [])
    plan = validate.plan_of(found, quick=quick)
    name = plan.recipe.name + ("-quick" if quick else "")
    folder = RunFolder(path=out or Path("runs") / name)
    if resume and not folder.is_begun:
        raise CheckpointError(
            f"there is no checkpoint in {folder.path} to resume; leave --resume out to start"
        )
    if fresh:
        with folder.locked():  # not under the feet of a process that trains there
            folder.clear()
    with TrainingView(plan.recipe.name) as view, _stop_signals() as stopped:
        try:
            result = loop.train(plan, folder, view, lambda: bool(stopped))
        except loop.Interrupted as interrupted:
            again = f"gossamer train {recipe} {' '.join(overrides or [])}".rstrip()
            again += f"{' --quick' if quick else ''}{f' --out {out}' if out else ''}"
            raise loop.Interrupted(f"{interrupted}. Go on with: {again}") from None
    output.say(
        f"accuracy {result['test_accuracy']:.2%} on {result['test_images']} test images, sparsity {result['sparsity']:.2%} "
        f"({result['num_kept']:,} of {result['num_weights']:,} weights kept), {result['steps']} steps in "
        f"{duration(float(str(result['seconds'])))}{', quick' if result['quick'] else ''}"
    )
    output.say(f"saved in {folder.path}; pack it with: gossamer pack {folder.path}")
    output.result({**result, "run": str(folder.path)})


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of being ended by them; a second one of the same kind ends at once."""
    seen: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: object) -> None:
        seen.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
