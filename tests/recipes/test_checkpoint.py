"""A checkpoint is replaced in one step, or not at all."""

import errno
import os

import pytest
import torch

from gossamer.errors import CheckpointError
from gossamer.recipes import checkpoint
from gossamer.recipes.checkpoint import Checkpoint


def example(step: int) -> Checkpoint:
    return Checkpoint(
        recipe="name: x",
        step=step,
        loss_sum=0.5,
        seconds=1.0,
        model={"w": torch.arange(3.0)},
        optimizer={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        sparsifier=None,
        accounting={},
        random=torch.get_rng_state(),
    )


def test_round_trip(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(example(7), path)
    found = checkpoint.load(path)
    assert found.step == 7
    assert found.model["w"].tolist() == [0, 1, 2]
    assert torch.equal(found.random, torch.get_rng_state())
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch, function):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(example(1), path)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        checkpoint.save(example(2), path)
    monkeypatch.undo()
    assert checkpoint.load(path).step == 1
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("size", [0, 10, 1000, 2000, -1])
def test_a_cut_off_file_is_named(tmp_path, size):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(example(1), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt.*--fresh"):
        checkpoint.load(path)


@pytest.mark.parametrize("values", [[1], {"version": 99}, {"model": {}}])
def test_what_is_no_checkpoint_of_a_run(tmp_path, values):
    torch.save(values, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="version 2"):
        checkpoint.load(tmp_path / "checkpoint.pt")


def test_absent(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        checkpoint.load(tmp_path / "checkpoint.pt")
