"""A recipe whose method trains in workers (P-GaP): rounds of turns, each of them the recipe's own loop in a process of its own.

The recipe's steps are those that follow each other: of a round all workers make the same ones, each with its partition dense, on the same
images. What they cost is counted for all of them. The run goes on at the round that was lost; see `gossamer.training.parallel`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from gossamer.recipes import building, outcome, turn_files
from gossamer.recipes.building import Built
from gossamer.recipes.document import parse
from gossamer.recipes.outcome import Sparse
from gossamer.recipes.progress import Interrupted, Progress, Silent, Watcher
from gossamer.recipes.resolved import to_yaml
from gossamer.recipes.run import Run, advance
from gossamer.recipes.run_folder import RunFolder
from gossamer.recipes.turn_files import TurnFile
from gossamer.recipes.validate import Plan, plan_of
from gossamer.sparsity.patterns import parse_pattern
from gossamer.training.methods import GaP
from gossamer.training.parallel import LocalProcesses, Turn, TurnRow, grow_in_parallel
from gossamer.training.reports import Summary
from gossamer.training.stages import position_at

WORKERS = 2
"""Processes where the recipe does not say how many."""


@dataclass(frozen=True, kw_only=True)
class RecipeTurn:
    """The training function of a worker, as it is sent there. recipe: resolved, as YAML. threads: beside other workers; alone: without.

    What it prints goes to standard error: standard output is that of the command, which may promise one JSON object.
    """

    recipe: str
    turns: Path
    threads: int
    alone: int

    def __call__(self, model: nn.Module, turn: Turn) -> None:
        plan = plan_of(parse(self.recipe, name="recipe"))
        threads = self.alone if turn.partition is None else self.threads
        plan = replace(plan, recipe=replace(plan.recipe, threads=threads))
        optimizer = building.make_optimizer(model, plan.recipe.train.optimizer)
        sparsifier = turn.attach(model, optimizer)
        run = Run(
            plan,
            plan.task.data[plan.recipe.data].load(),
            built=Built(model=model, optimizer=optimizer, sparsifier=sparsifier, notes=()),
            part=range(turn.first_step, turn.first_step + turn.steps),
        )
        file = TurnFile(folder=self.turns, round=turn.round, worker=turn.partition)
        file.open()
        with redirect_stdout(sys.stderr):
            advance(run, file, Silent(), lambda: False)
        file.close(run.books.result())


def train(plan: Plan, folder: RunFolder, watcher: Watcher, stop: Callable[[], bool]) -> dict[str, object]:
    """Train to the end, from the round that comes next; returns what stands in result.json."""
    method = plan.in_parallel
    assert method is not None
    folder.claim(plan.recipe)
    run = Run(replace(plan, method=None), plan.task.data[plan.recipe.data].load())
    partitions, threads = len(method.split_by), torch.get_num_threads()
    count = min(plan.recipe.workers or WORKERS, partitions)
    rounds = Rounds(plan, method, run, folder, watcher, stop, num_workers=count)
    beside = max(1, threads // count)
    grown = grow_in_parallel(
        run.model,
        method,
        train=RecipeTurn(recipe=to_yaml(plan.recipe), turns=folder.turns, threads=beside, alone=threads),
        workers=LocalProcesses(count, while_waiting=rounds.look),
        seed=plan.recipe.seed,
        protect=plan.recipe.protect,
        threads=beside,
        checkpoint=folder.rounds,
        watcher=rounds,
    )
    report = grown.report
    run.step = plan.num_steps
    return outcome.finish(
        run.model,
        Sparse(
            summary=replace(grown.summary, peak_kept=report.peak_kept),
            masks=grown.masks,
            pattern=str(parse_pattern(method.pattern)),
        ),
        plan,
        folder,
        run.measure(),
        rounds.seconds,
        steps=plan.num_steps,
        books={
            **turn_files.books(folder.turns, method),
            "parallel": {
                "workers": count,
                "partitions": partitions,
                "rounds": method.rounds,
                **report.to_dict(),
                "worker_seconds": sum(row.seconds for row in report.rows),
            },
        },
    )


class Rounds:
    """What is told and kept while rounds go by. `run` is the combined network."""

    def __init__(
        self,
        plan: Plan,
        method: GaP,
        run: Run,
        folder: RunFolder,
        watcher: Watcher,
        stop: Callable[[], bool],
        *,
        num_workers: int,
    ) -> None:
        self._plan, self._method, self._run, self._folder = plan, method, run, folder
        self._watcher, self._stop = watcher, stop
        self._waves = ceil(len(method.split_by) / num_workers)  # turns of a round that follow each other
        self._begun = time.monotonic()
        self._first: int | None = None  # the round that this sitting begins with
        self._round = 0
        self._files: list[TurnFile] = []
        self._rows: dict[TurnFile, list[dict[str, Any]]] = {}
        before = [row["seconds"] for row in folder.rows() if "round" not in row]
        self._earlier = before[-1] if before else 0.0

    @property
    def seconds(self) -> float:
        """Of the whole run, over all sittings, one clock for all workers."""
        return self._earlier + time.monotonic() - self._begun

    def begins(self, number: int) -> None:
        """Before a round."""
        if self._first is None:
            self._first = number
            self._folder.cut_metrics(self._first_step(number))
            before = [row["seconds"] for row in self._folder.rows() if "round" not in row]
            self._earlier, self._begun = before[-1] if before else 0.0, time.monotonic()
            if number:
                self._watcher.say(f"resuming {self._folder.path} at round {number} of {self._method.rounds}")
        self._round = number
        self._files = turn_files.turns(self._folder.turns, self._method, number)
        self._rows = {file: [] for file in self._files}
        for file in self._files:
            file.open()

    def look(self) -> None:
        """While workers train: shows how far they are, and ends the round when asked to."""
        self._show()
        if self._stop():
            raise Interrupted(
                f"interrupted in round {self._round}, which begins anew when the run goes on; the rounds before it are saved in "
                f"{self._folder.path}"
            )

    def _show(self) -> None:
        """What workers have written since the last time."""
        for file in self._files:
            rows = file.rows()
            news = rows[len(self._rows[file]) :]
            self._rows[file] = rows
            for row in news:
                if row["step"] % self._plan.steps_per_epoch == 0:
                    self._watcher.epoch(self._progress(row, name=file.title))
        latest = [rows[-1] for rows in self._rows.values() if rows]
        if latest:
            self._watcher.step(self._progress(_mean(latest, len(self._files), self._first_step(self._round))))

    def ended(self, number: int, rows: Sequence[TurnRow], summary: Summary) -> None:
        """After a round, before it is saved: the lines of all its turns, and one of the combined network."""
        if not rows:  # no fine-tuning: nothing has changed since the last round
            return
        self._show()
        for row in rows:
            if row.lost:
                name = TurnFile(folder=self._folder.turns, round=number, worker=row.partition).title
                self._watcher.say(
                    f"{name}: lost {row.retries} times and done again; {row.lost[-1].strip().splitlines()[-1]}"
                )
        for file in self._files:
            for line in file.rows():
                self._folder.append(line)
        run = self._run
        run.step = self._first_step(number) + rows[0].steps
        accuracy, loss = run.measure()
        books = turn_files.books(self._folder.turns, self._method, upto=number)["cost"]
        line = {
            "step": run.step,
            "epoch": run.step / self._plan.steps_per_epoch,
            "density": 1 - summary.sparsity,
            "test_accuracy": accuracy,
            "test_loss": loss,
            "seconds": round(self.seconds, 3),
            "examples": books["examples"],
            "macs": books["macs"],
        }
        self._folder.append(line)
        self._watcher.epoch(self._progress({**line, "loss": loss}, name="combined"))

    def _first_step(self, number: int) -> int:
        return number * self._method.steps_per_stage

    def _progress(self, row: dict[str, Any], name: str | None = None) -> Progress:
        method, step, num_steps = self._method, row["step"], self._plan.num_steps
        stage = position_at(method.stages(), step - 1 if name else step)
        assert stage is not None
        begun = self._work(self._first_step(self._first or 0))
        done, whole = self._work(step) - begun, self._work(num_steps) - begun
        return Progress(
            step=step,
            num_steps=num_steps,
            epoch=step // self._plan.steps_per_epoch,
            epochs=self._plan.recipe.train.epochs,
            loss=row["loss"],
            density=row["density"],
            stage=stage if name is None else replace(stage, name=name),
            accuracy=row.get("test_accuracy"),
            seconds_left=(time.monotonic() - self._begun) * (whole - done) / done if done else 0.0,
        )

    def _work(self, step: int) -> int:
        """Steps that follow each other on this machine, up to this step of the recipe."""
        grown = min(step, self._first_step(self._method.rounds))
        return grown * self._waves + step - grown


def _mean(latest: Sequence[dict[str, Any]], num_turns: int, first_step: int) -> dict[str, Any]:
    """A round as one line: of the turns that have begun; those that have not count as at its first step."""
    done = sum(row["step"] - first_step for row in latest) // num_turns
    return {
        "step": first_step + done,
        "loss": fmean(row["loss"] for row in latest),
        "density": max(row["density"] for row in latest),
    }
