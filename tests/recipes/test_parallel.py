"""Recipes whose method trains in workers."""

import json

import pytest
import torch
from helpers import Notes, never, plan
from safetensors.torch import load_file

from gossamer.cli.report import by_worker
from gossamer.errors import CheckpointError, RecipeError
from gossamer.recipes import costing, library, loop, parallel
from gossamer.recipes.run_folder import RunFolder
from gossamer.training.parallel import InTurn

GAP = "method={{name: gap, sparsity: 0.8, order: {order}, partitions: {partitions}, rounds: {rounds}, steps_per_stage: 6}}"
PARALLEL = GAP.format(
    order="parallel", partitions=2, rounds=2
)  # 24 steps: two rounds of 6, 12 of fine-tuning


def train(folder, *overrides, stop=never):
    notes = Notes()
    return loop.train(plan(*overrides), folder, notes, stop), notes


class Here(InTurn):
    """Turns in this process, with a look after every round of them."""

    def __init__(self, count, while_waiting):
        self.__dict__.update(count=count, while_waiting=while_waiting)

    def run(self, jobs, *, retries):
        outcomes = super().run(jobs, retries=retries)
        self.while_waiting()
        return outcomes


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(parallel, "LocalProcesses", Here)


def test_one_partition_equals_the_cyclic_recipe_bit_for_bit(tmp_path, here):
    """The same loop: data order, learning rates, clipping and optimizer go on where the round before stopped."""
    one, two = RunFolder(path=tmp_path / "one"), RunFolder(path=tmp_path / "two")
    for settings in ("train.rate.kind=cosine", "train.optimizer={kind: sgd, lr: 0.05}"):
        results = [
            train(folder, GAP.format(order=order, partitions=1, rounds=1), settings)[0]
            for folder, order in ((one, "cyclic"), (two, "parallel"))
        ]
        assert one.model.read_bytes() == two.model.read_bytes()
        assert one.masks.read_bytes() == two.masks.read_bytes()
        for key in ("test_accuracy", "test_loss", "peak_kept", "num_kept", "steps"):
            assert results[0][key] == results[1][key], key
        for key in ("macs", "dense_macs", "examples"):
            assert results[0]["cost"][key] == results[1]["cost"][key], key
        rates = [
            {row["step"]: row["learning_rate"] for row in folder.rows() if "learning_rate" in row}
            for folder in (one, two)
        ]
        assert rates[0] == rates[1]
        one.clear()
        two.clear()
    assert sorted(path.name for path in two.path.iterdir()) == [".lock", "turns"]


def test_what_a_run_leaves(tmp_path, here):
    folder = RunFolder(path=tmp_path / "run")
    result, notes = train(folder, PARALLEL, "threads=2", "workers=1")
    own = result["parallel"]
    assert (own["workers"], own["partitions"], own["rounds"], own["retries"]) == (1, 2, 2, 0)
    assert (own["machine_steps"], own["longest_steps"], result["steps"]) == (36, 24, 24)
    assert result["cost"]["examples"] == 36 * 32
    assert own["worker_seconds"] == pytest.approx(sum(row["seconds"] for row in own["rows"]))
    foreseen = loop.check(plan(PARALLEL))
    assert result["peak_kept"] == own["peak_kept"] == foreseen.peak_kept > result["num_kept"]
    masks = load_file(folder.masks)
    left_dense = sum(row["size"] for row in result["layers"] if row["name"] not in masks)
    assert result["num_kept"] == left_dense + sum(int(mask.sum()) for mask in masks.values())
    rows = folder.rows()
    series = by_worker("run", rows)
    assert list(series) == ["run", "run, worker 0", "run, worker 1"]
    assert [row["step"] for row in series["run, worker 0"]] == [8, 10]  # an epoch, and every ten steps
    assert [row["step"] for row in series["run"]] == [6, 12, 16, 20, 24, 24]
    assert series["run"][-1]["examples"] == 36 * 32
    assert series["run"][0]["examples"] == 12 * 32
    assert series["run"][-1]["test_accuracy"] == result["test_accuracy"]
    assert notes.steps[-1].step == 24
    assert json.loads(folder.result.read_text())["parallel"] == own
    again, said = train(folder, PARALLEL, "threads=2", "workers=2")
    assert again == json.loads(folder.result.read_text())
    assert "nothing to do" in said.lines[0]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_run_goes_on_at_the_round_where_it_was_stopped(tmp_path, here, number):
    whole, parts = RunFolder(path=tmp_path / "whole"), RunFolder(path=tmp_path / "parts")
    train(whole, PARALLEL)
    looks = iter(range(9))
    with pytest.raises(loop.Interrupted, match=f"interrupted in round {number}, which begins anew"):
        train(parts, PARALLEL, stop=lambda: next(looks) == number)
    assert not parts.is_finished
    torch.manual_seed(99)  # what another program does in between must not matter
    with pytest.raises(CheckpointError, match="another recipe") if number else pytest.raises(RecipeError):
        train(parts, PARALLEL, "seed=4" if number else "seed=-4")
    _, notes = train(parts, PARALLEL)
    assert notes.lines == ([f"resuming {parts.path} at round {number} of 2"] if number else [])
    assert whole.model.read_bytes() == parts.model.read_bytes()
    assert without_time(whole.rows()) == without_time(parts.rows())
    assert parts.read_result()["cost"] == whole.read_result()["cost"]


def without_time(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_processes_equal_the_turns_of_one_process(tmp_path):
    """Two real processes; metrics, costs and model are those of turns one after the other."""
    many, one = RunFolder(path=tmp_path / "many"), RunFolder(path=tmp_path / "one")
    text = GAP.format(order="parallel", partitions=2, rounds=1)
    result, notes = train(many, text, "threads=1")
    assert result["parallel"]["workers"] == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "LocalProcesses", Here)
        train(one, text, "threads=1")
    assert many.model.read_bytes() == one.model.read_bytes()
    assert without_time(many.rows()) == without_time(one.rows())
    assert notes.epochs[-1].accuracy == result["test_accuracy"]
    told = [(progress.step, progress.stage.name) for progress in notes.epochs]
    assert told == [(6, "combined"), (8, "fine-tune"), (16, "fine-tune"), (24, "fine-tune"), (24, "combined")]


def test_what_a_worker_prints_is_not_the_answer_of_the_command(tmp_path, here, monkeypatch, capsys):
    def prints(*arguments):
        print("a network that prints")
        advance(*arguments)

    advance = parallel.advance
    monkeypatch.setattr(parallel, "advance", prints)
    train(RunFolder(path=tmp_path / "run"), GAP.format(order="parallel", partitions=1, rounds=1))
    printed = capsys.readouterr()
    assert "a network that prints" in printed.err
    assert printed.out == ""


def test_a_run_without_fine_tuning_ends_with_its_last_round(tmp_path, here):
    folder = RunFolder(path=tmp_path / "run")
    text = GAP.format(order="parallel", partitions=2, rounds=4)  # 24 steps: all of them
    result, notes = train(folder, text)
    assert [row["step"] for row in folder.rows() if "round" not in row] == [6, 12, 18, 24]
    assert sorted(path.name for path in folder.turns.glob("4*")) == []
    assert result["steps"] == 24
    assert result["parallel"]["machine_steps"] == 48
    assert [row.step for row in notes.epochs if row.stage.name == "combined"] == [6, 12, 18, 24]


def test_costs_are_measured_with_partitions_in_turn():
    recipe = library.document_of("fashion-mnist-resnet20-pgap")
    with pytest.raises(
        RecipeError, match=r"pgap.yaml:\d+: method.order: its first steps are made in workers"
    ):
        costing.costs_of(recipe, steps=1)


def test_recipes_that_cannot_train_in_workers_are_refused():
    for override, sentence in (
        ("train.storage=compact", "train.storage: gap makes whole layers dense"),
        ("device=cuda", "device: the workers of a recipe train on the CPU"),
        ("workers=0", "workers: expected at least 1"),
        ("train.sieve={at_epoch: 1, min_presentations: 1}", "the method has stages"),
        ("method.finetune=13", "stages are 25 steps long"),
    ):
        with pytest.raises(RecipeError, match=sentence):
            plan(PARALLEL, override)
    with pytest.raises(RecipeError, match="workers: gradual trains in one process"):
        plan("workers=2")
    with pytest.raises(RecipeError, match="workers: dense training has one process"):
        plan("method=dense", "workers=2")
    assert plan(PARALLEL).method.finetune == 12
    assert plan(PARALLEL, "workers=3").recipe.workers == 3


def test_the_dry_run_says_the_stages_and_the_peak_of_one_worker():
    foreseen = loop.check(plan(PARALLEL))
    assert [(row.name, row.begin, row.steps) for row in foreseen.stages] == [
        ("round 0", 0, 6),
        ("round 1", 6, 6),
        ("fine-tune", 12, 12),
    ]
    assert foreseen.stages[0].density == foreseen.peak_density
    assert foreseen.stages[2].density == pytest.approx(0.2, abs=1e-3)
