"""A run: trains, stops, goes on as if it had never stopped, refuses what is not its own."""

import json
import math

import pytest
import torch
from helpers import Notes, never, plan
from safetensors.torch import load_file

from gossamer.errors import CheckpointError, GossamerError, RecipeError
from gossamer.recipes import checkpoint, loop, outcome
from gossamer.recipes.run_folder import RunFolder


def stop_after(count):
    """Says stop when it has been asked that often."""
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= count


def rows_without_time(folder):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in folder.rows()]


def train(folder, *overrides, stop=never):
    notes = Notes()
    return loop.train(plan(*overrides), folder, notes, stop), notes


def test_a_whole_run(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    result, notes = train(folder)
    assert result["steps"] == 24
    assert result["num_kept"] == round(0.1 * result["num_weights"])
    assert abs(result["sparsity"] - 0.9) < 1e-5
    assert json.loads(folder.result.read_text()) == result
    assert [progress.epoch for progress in notes.epochs] == [1, 2, 3]
    assert notes.steps[0].density > notes.steps[-1].density == pytest.approx(0.1, abs=1e-5)
    weights, masks = load_file(folder.model), load_file(folder.masks)
    assert set(weights) == {f"{layer}.{part}" for layer in (1, 3, 5) for part in ("weight", "bias")}
    for name, mask in masks.items():
        assert mask.dtype == torch.bool
        assert (weights[name][~mask] == 0).all()
    rows = folder.rows()
    assert [row["step"] for row in rows] == [8, 10, 16, 20, 24]
    assert rows[-1]["test_accuracy"] == result["test_accuracy"]


@pytest.mark.parametrize("method", ["gradual", "rigl", "dense", "gap"])
def test_a_resumed_run_is_bit_equal(tmp_path, method):
    sections = {
        "gradual": "method={name: gradual, sparsity: 0.9, stop: 60%, every: 2}",
        "rigl": "method={name: rigl, sparsity: 0.8, stop: 75%, every: 3}",
        "dense": "method=dense",
        "gap": "method={name: gap, sparsity: 0.8, partitions: 2, steps_per_stage: 25%, rounds: 1}",
    }
    whole, parts = RunFolder(path=tmp_path / "whole"), RunFolder(path=tmp_path / "parts")
    train(whole, sections[method])
    for count in (3, 2, 8):  # stops in an epoch, and after its end
        with pytest.raises(loop.Interrupted, match="the state is saved"):
            train(parts, sections[method], stop=stop_after(count))
        torch.manual_seed(99)  # what another program does in between must not matter
    _, notes = train(parts, sections[method])
    assert notes.lines == [f"resuming {parts.path} at step 13 of 24"]
    assert whole.model.read_bytes() == parts.model.read_bytes()
    assert rows_without_time(whole) == rows_without_time(parts)
    if method != "dense":
        assert whole.masks.read_bytes() == parts.masks.read_bytes()


def test_stages_restart_the_rate_and_are_told(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    gap = "method={name: gap, sparsity: 0.8, partitions: 2, steps_per_stage: 25%%, restart_rate: %s}"
    _, notes = train(folder, gap % "true", "train.rate={kind: cosine, warmup: 0}")
    assert [str(progress.stage) for progress in notes.epochs] == [
        "stage 2/3 grow 1",
        "stage 3/3 fine-tune",
        "stage 3/3 fine-tune",
    ]
    rates = {row["step"]: row["learning_rate"] for row in folder.rows()}  # stages of 6, 6 and 12 steps
    assert rates[20] == pytest.approx(0.002 * 0.5 * (1 + math.cos(math.pi * 7.5 / 12)))
    assert rates[10] == pytest.approx(0.002 * 0.5 * (1 + math.cos(math.pi * 3.5 / 6)))
    assert {row["step"]: row["stage"] for row in folder.rows()} == {8: 1, 10: 1, 16: 2, 20: 2, 24: 2}
    other = RunFolder(path=tmp_path / "other")
    train(other, gap % "false", "train.rate={kind: cosine, warmup: 0}")
    whole = {row["step"]: row["learning_rate"] for row in other.rows()}
    assert whole[20] == pytest.approx(0.002 * 0.5 * (1 + math.cos(math.pi * 19.5 / 24)))


def test_stages_longer_than_the_run_are_refused():
    gap = "method={name: gap, sparsity: 0.8, partitions: 2, steps_per_stage: 25%, finetune: 13}"
    with pytest.raises(RecipeError, match="its stages are 25 steps long, more than the whole run"):
        plan(gap)
    with pytest.raises(RecipeError, match="the last edit is at step 36, behind the end"):
        plan(gap.replace("finetune: 13", "rounds: 3"))


def test_metrics_behind_the_checkpoint_are_forgotten(tmp_path):
    """As after a kill between a line of the metrics and the checkpoint."""
    folder = RunFolder(path=tmp_path / "run")
    with pytest.raises(loop.Interrupted):
        train(folder, stop=stop_after(9))
    with folder.metrics.open("a") as file:
        file.write('{"step": 10, "loss": 1}\n{"step": 1')
    train(folder)
    assert [row["step"] for row in folder.rows()] == [8, 10, 16, 20, 24]
    assert folder.rows()[1]["loss"] != 1


def test_a_finished_run_is_not_repeated(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    first, _ = train(folder)
    again, notes = train(folder)
    assert again == first
    assert "finished run; nothing to do" in notes.lines[0]
    assert not notes.steps


@pytest.mark.parametrize("finished", [False, True])
def test_another_recipe_in_the_same_folder_is_refused(tmp_path, finished):
    folder = RunFolder(path=tmp_path / "run")
    if finished:
        train(folder)
    else:
        with pytest.raises(loop.Interrupted):
            train(folder, stop=stop_after(9))
    before = folder.checkpoint.read_bytes()
    with pytest.raises(
        CheckpointError,
        match=r"another recipe \(method.sparsity: 0.8 here, 0.9 there; seed: 4 here, 3 there\)",
    ):
        train(folder, "method.sparsity=0.8", "seed=4")
    assert folder.checkpoint.read_bytes() == before
    folder.clear()
    assert train(folder, "method.sparsity=0.8", "train.epochs=2")[0]["steps"] == 16


def test_a_run_that_diverges_says_so(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    with pytest.raises(GossamerError, match=r"step \d+: expected a finite loss, got (nan|inf)"):
        train(folder, "train.optimizer={kind: sgd, lr: 1e25}", "train.clip_norm=null")
    assert not folder.is_finished


def test_clearing_takes_what_a_killed_run_left_half_written_and_nothing_else(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    folder.turns.mkdir(parents=True)
    for name in (".gossamer-0123456789abcdef.tmp", "turns/.gossamer-0123456789abcdef.tmp", "turns/0-1.jsonl"):
        (folder.path / name).write_text("{")
    (folder.path / "notes.txt").write_text("mine")
    folder.clear()
    assert sorted(path.name for path in folder.path.rglob("*")) == ["notes.txt", "turns"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    one, two = RunFolder(path=tmp_path / "one"), RunFolder(path=tmp_path / "two")
    for folder, seed in ((one, "seed=1"), (two, "seed=2")):
        with pytest.raises(loop.Interrupted):
            train(folder, seed, stop=stop_after(9))
    one.checkpoint.replace(two.checkpoint)
    with pytest.raises(CheckpointError, match="seed: 2 here, 1 there"):
        train(two, "seed=2")
    two.recipe.unlink()
    with pytest.raises(CheckpointError, match=r"no recipe\.yaml"):
        train(two, "seed=2")


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, monkeypatch):
    import errno
    import os

    folder = RunFolder(path=tmp_path / "run")
    with pytest.raises(loop.Interrupted):
        train(folder, stop=stop_after(9))
    saved = checkpoint.load(folder.checkpoint).step

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        real = checkpoint.save
        patch.setattr(checkpoint, "save", lambda *given: (patch.setattr(os, "fsync", full), real(*given)))
        with pytest.raises(CheckpointError, match="No space left on device"):
            train(folder)
    assert checkpoint.load(folder.checkpoint).step == saved
    result, _ = train(folder)
    whole = RunFolder(path=tmp_path / "whole")
    assert train(whole)[0]["test_loss"] == result["test_loss"]
    assert whole.model.read_bytes() == folder.model.read_bytes()


def test_two_processes_in_one_folder(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    with folder.locked(), pytest.raises(CheckpointError, match="another process is training"):
        train(folder)


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.precision=bf16"],
        ["train.optimizer={kind: sgd, lr: 0.05}", "train.rate.kind=one_cycle"],
        ["model=gossamer.tasks.models:mlp", "train.label_smoothing=0.1"],
        ["method.pattern=block:2x1"],
    ],
)
def test_variants_train(tmp_path, overrides):
    result, _ = train(RunFolder(path=tmp_path / "run"), *overrides, "train.epochs=1")
    assert result["steps"] == 8


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("torch.nn:Identity", r"expected logits \[2, 10\] for two images, got \[2, 1, 28, 28\]"),
        ("torchish.nets:net", "torchish"),
        ("broken_nets:conv3", r"cannot take images of shape \[1, 28, 28\]"),
        ("broken_nets:fixed", "expected weights that can be trained"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, model, message
):
    (tmp_path / "broken_nets.py").write_text(
        "from torch import nn\n"
        "def conv3(): return nn.Conv2d(3, 4, 3)\n"
        "def fixed(): return nn.Sequential(nn.AdaptiveAvgPool2d((1, 10)), nn.Flatten())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = RunFolder(path=tmp_path / "run")
    with pytest.raises(GossamerError, match=message):
        train(folder, f"model={model}")
    assert not folder.recipe.exists()


def test_more_threads_than_cpus_are_refused(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    words = r"threads: expected 1.* \(the CPUs this process may use\), got 4096"
    with pytest.raises(RecipeError, match=words):
        train(folder, "threads=4096")
    with pytest.raises(RecipeError, match=words):
        loop.check(plan("threads=4096"))


def test_the_result_names_layers_with_nothing_dropped(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    result, _ = train(folder, "method.sparsity=0.02", "method.allocation=erk", "train.epochs=1")
    whole = [row["name"] for row in result["layers"] if not row["reason"] and row["num_kept"] == row["size"]]
    assert result["kept_whole"] == whole
    assert folder.read_result()["kept_whole"] == whole
    assert outcome.read_pattern(folder.masks) == "unstructured"
