"""What training a recipe costs, before it is trained: bytes by formula, MACs of the whole run, and the first steps in fresh processes.

`python -m gossamer.recipes.costing STEPS < recipe.yaml` is such a process: it trains a few steps and prints JSON. What it holds before
the network is built (the interpreter, torch, the images) is told apart from what training adds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from gossamer.errors import GossamerError, RuntimeFailure
from gossamer.recipes import document, loop, validate
from gossamer.recipes.document import Document
from gossamer.recipes.resolved import to_yaml
from gossamer.recipes.validate import Plan
from gossamer.resident import forget_peak, resident
from gossamer.training.cost import planned_cost
from gossamer.training.footprint import predictions
from gossamer.training.foresight import counts_over_time, peak_counts

STORAGES: Mapping[str, tuple[str, ...]] = {
    "dense": ("method=dense", "train.storage=masked"),
    "masked": ("train.storage=masked",),
    "compact": ("train.storage=compact",),
}
"""Storage -> what it changes in a recipe."""


def costs_of(recipe: Document, *, steps: int, quick: bool = False) -> dict[str, Any]:
    """The costs of a recipe in all storages.

    `predicted`: storage -> target and peak -> bytes by kind. `run`: MACs and examples of the whole run, and the kept entries over its
    steps. `measured`: storage -> bytes by kind after `steps` steps, and of the process: resident `before` the network is built, the `peak`
    from there on, and their difference; or "error", why there is none.
    """
    plan = validate.plan_of(recipe, quick=quick)
    if plan.in_parallel is not None:
        raise recipe.error(
            ("method", "order"),
            "its first steps are made in workers, which are not measured here: expected cyclic, with stages that fit into the run "
            "(method.rounds, method.steps_per_stage), whose peak is that of one worker; a finished "
            "run says in result.json what all of them have cost",
        )
    measured: dict[str, dict[str, Any]] = {}
    found: dict[str, Any] = {}
    for storage in STORAGES if plan.method is not None else ("dense",):
        try:
            changed = document.with_overrides(recipe, STORAGES[storage])
            found[storage] = _spawn(validate.plan_of(changed, quick=quick), steps)
            measured[storage] = {key: found[storage][key] for key in ("memory", "process")}
        except GossamerError as error:
            measured[storage] = {"error": str(error)}
    plain = "dense" if plan.method is None else "masked"
    if plain not in found:
        raise RuntimeFailure(measured[plain]["error"])
    told = found[plain]
    return {
        "recipe": plan.recipe.name,
        "method": plan.recipe.method.name,
        "quick": quick,
        "steps": steps,
        "predicted": told["predicted"],
        "run": told["run"],
        "measured": measured,
    }


def first_steps(plan: Plan, steps: int) -> dict[str, Any]:
    """Trains some steps in this process."""
    data = plan.task.data[plan.recipe.data].load()
    forget_peak()
    before = resident().now
    run = loop.Run(plan, data)
    for _ in range(min(steps, run.num_steps)):
        run.one_step()
    books = run.books.result()
    most = resident().peak
    peak: dict[str, int] = {}
    final: dict[str, int] = {}
    shapes = {} if run.sparsifier is None else run.sparsifier.shapes
    if plan.method is not None:
        peak = final = peak_counts(plan.method, shapes)
        for _step, counts in counts_over_time(plan.method, shapes):
            final = dict(counts)
    planned = planned_cost(
        run.books.meter.layers,
        plan.method,
        shapes,
        num_steps=plan.num_steps,
        batch_size=plan.recipe.train.batch_size,
    )
    return {
        "memory": books["memory"]["measured"],
        "process": {
            "before": before,
            "peak": most,
            "added": most - before,
        },
        "predicted": predictions(
            run.model,
            run.optimizer,
            run.sparsifier,
            peak_kept=peak,
            target_kept=final,
            activations=run.books.activations,
        ),
        "run": planned.to_dict(),
    }


def _spawn(plan: Plan, steps: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "gossamer.recipes.costing", str(steps)]
    text = to_yaml(plan.recipe)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeFailure(f"the first steps failed: {done.stderr.strip()[-700:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _main(steps: str) -> int:
    try:
        told = first_steps(validate.plan_of(document.parse(sys.stdin.read(), name="recipe")), int(steps))
    except GossamerError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
