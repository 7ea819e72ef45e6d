"""gossamer recipes list / show / check / schema"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gossamer.cli.output import Json, Output

app = typer.Typer(
    help="List, show and check recipes; print their JSON schema.", no_args_is_help=True, rich_markup_mode=None
)

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a shipped recipe or a .yaml file.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings on top.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the recipes that come with the package.

    \b
    Example:
      gossamer recipes list
    """
    from gossamer.recipes import library

    rows = []
    for name in library.names():
        values = library.document_of(name).values
        method = values.get("method")
        rows.append(
            {
                "name": name,
                "method": method.get("name") if isinstance(method, dict) else method,
                "description": values.get("description", ""),
            }
        )
    output = Output(json)
    output.table(
        ["name", "method", "what it does"],
        [[str(row["name"]), str(row["method"]), str(row["description"])] for row in rows],
    )
    output.result({"recipes": rows})


@app.command("show")
def show(
    recipe: Recipe,
    overrides: Overrides = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="With every default written out.")] = False,
    json: Json = False,
) -> None:
    """Print a recipe; with --resolved or settings on top, every key with its value.

    \b
    Examples:
      gossamer recipes show fashion-mnist-resnet20-rigl > mine.yaml
      gossamer recipes show mine.yaml train.epochs=3 --resolved
    """
    from gossamer.recipes import document, library, validate
    from gossamer.recipes.resolved import plain, to_yaml

    output = Output(json)
    found = document.with_overrides(library.document_of(recipe), overrides or [])
    if resolved or overrides or recipe not in library.names():
        plan = validate.plan_of(found)
        output.say(to_yaml(plan.recipe).rstrip())
        output.result({"recipe": plain(plan.recipe)})
    else:
        output.say(library.text_of(recipe).rstrip())
        output.result({"recipe": found.values})


@app.command("check")
def check(recipe: Recipe, overrides: Overrides = None, json: Json = False) -> None:
    """Check a recipe without training: its keys, its network, its sparsity. Says how many steps it has, in which stages, and the peak.

    \b
    Example:
      gossamer recipes check mine.yaml
    """
    from gossamer.recipes import document, library, loop, validate

    output = Output(json)
    plan = validate.plan_of(document.with_overrides(library.document_of(recipe), overrides or []))
    foreseen = loop.check(plan)
    output.say(
        f"{plan.recipe.name}: fine; {plan.num_steps} steps ({plan.recipe.train.epochs} epochs of {plan.steps_per_epoch}), "
        f"method {plan.method or 'dense'}"
    )
    if foreseen is not None:
        for number, stage in enumerate(foreseen.stages, 1):
            epochs = stage.steps / plan.steps_per_epoch
            output.say(
                f"stage {number}/{len(foreseen.stages)} {stage.name}: from step {stage.begin}, {stage.steps} steps ({epochs:.1f} "
                f"epochs), density {stage.density:.1%}"
            )
        output.say(f"density at the peak: {foreseen.peak_density:.1%} ({foreseen.peak_kept:,} weights)")
    left_dense = {} if foreseen is None else {row.name: row.reason for row in foreseen.summary.left_dense}
    for name, reason in left_dense.items():
        output.say(f"left dense: {name} ({reason})")
    output.result(
        {
            "name": plan.recipe.name,
            "num_steps": plan.num_steps,
            "steps_per_epoch": plan.steps_per_epoch,
            "left_dense": left_dense,
            "stages": [] if foreseen is None else [asdict(stage) for stage in foreseen.stages],
            "peak_density": 1.0 if foreseen is None else foreseen.peak_density,
        }
    )


@app.command("schema")
def schema(json: Json = False) -> None:
    """Print the JSON schema of recipe files, for editors.

    \b
    Example:
      gossamer recipes schema > recipe.schema.json
    """
    from gossamer.recipes import json_schema

    del json  # the schema is JSON anyway
    print(json_schema.text(), end="")
