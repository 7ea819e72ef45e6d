"""The training run of a recipe from its folder to its result: build, resume, train, measure, save."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gossamer.errors import RecipeError
from gossamer.recipes import building, outcome, parallel
from gossamer.recipes.foreseen import Foreseen, foreseen, foreseen_in_parallel
from gossamer.recipes.outcome import Sparse
from gossamer.recipes.progress import Interrupted, Watcher
from gossamer.recipes.run import Run, advance
from gossamer.recipes.run_folder import RunFolder
from gossamer.recipes.validate import Plan
from gossamer.runtime.threads import check_threads

__all__ = ["Interrupted", "Run", "check", "train"]


def train(plan: Plan, folder: RunFolder, watcher: Watcher, stop: Callable[[], bool]) -> dict[str, object]:
    """Train to the end, from the folder's checkpoint where there is one; returns what stands in result.json.

    `stop` is asked after every step; when it says yes, the state is saved and Interrupted is raised.
    """
    with folder.locked():
        if folder.is_finished:
            folder.claim(plan.recipe)  # complains where the folder belongs to another recipe
            watcher.say(f"{folder.path} holds the finished run; nothing to do (--fresh starts over)")
            return folder.read_result()
        how = _train if plan.in_parallel is None else parallel.train
        return how(plan, folder, watcher, stop)


def _train(plan: Plan, folder: RunFolder, watcher: Watcher, stop: Callable[[], bool]) -> dict[str, object]:
    """One model, in this process."""
    run = Run(plan, plan.task.data[plan.recipe.data].load())
    for note in run.notes:
        watcher.say(f"note: {note}")
    saved = folder.begin(plan.recipe)
    if saved is not None:
        run.restore(saved)
        watcher.say(f"resuming {folder.path} at step {run.step} of {run.num_steps}")
    sparsifier, sieve = run.sparsifier, run.books.sieve
    try:
        advance(run, folder, watcher, stop)
        if run.step < run.end:
            raise Interrupted(
                f"interrupted at step {run.step} of {run.num_steps}; the state is saved in {folder.path}"
            )
        measured, books = run.measure(), run.books.result()
        sparse = None
        if sparsifier is not None:
            summary = sparsifier.finalize().summary
            sparse = Sparse(summary=summary, masks=sparsifier.masks, pattern=str(sparsifier.pattern))
        return outcome.finish(
            run.model,
            sparse,
            plan,
            folder,
            measured,
            run.seconds,
            steps=run.step,
            books=books,
            removed=None if sieve is None else sieve.removed,
        )
    finally:
        if sparsifier is not None:
            sparsifier.detach()


def check(plan: Plan) -> Foreseen | None:
    """Build what training would build, without its data: the network takes the task's images, the method can reach its sparsity.

    Returns what training will be like; None for dense training.
    """
    if plan.recipe.threads is not None:
        check_threads(plan.recipe.threads, error=RecipeError)
    if plan.method is None:
        building.model_of(plan)
        return None
    if plan.in_parallel is not None:
        return foreseen_in_parallel(
            plan.in_parallel, building.model_of(plan), protect=plan.recipe.protect, num_steps=plan.num_steps
        )
    sparsifier = building.built(plan, torch.device("cpu")).sparsifier
    assert sparsifier is not None
    sparsifier.detach()
    return foreseen(plan.method, sparsifier.shapes, sparsifier.summary(), plan.num_steps)
