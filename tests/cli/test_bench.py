"""gossamer bench on networks by name: sweeps, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from gossamer.cli.app import run
from gossamer.cli.bench import _example

MODEL = ["bench", "gossamer.tasks.models:mlp", "--input", "1x1x28x28"]


def test_a_sweep_gives_a_result_each(capsys, tmp_path):
    out, page = tmp_path / "sweep.json", tmp_path / "sweep.html"
    sweep = ["--sparsity", "0.8,0.9", "--batch", "1,2", "--against", "torch", "--rounds", "1", "--quick"]
    assert run([*MODEL, *sweep, "--json", "-o", str(out), "--plot", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert [(row["batch"], row["sparsity"]) for row in found] == [(1, 0.8), (1, 0.9), (2, 0.8), (2, 0.9)]
    assert all({row["engine"] for row in item["engines"]} == {"torch", "gossamer"} for item in found)
    assert page.read_text().count("<h2>Layer by layer") == 4
    assert run(["report", str(out), "-o", str(tmp_path / "report.html")]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch", "1;8"], "--batch: expected whole numbers"),
        (["--threads", "0"], "--threads: expected whole numbers"),
        (["--sparsity", "much"], "--sparsity: expected numbers"),
        (["--sparsity", "0.9,1.5"], "--sparsity: expected numbers from 0 to below 1"),
        (["--sparsity", "-0.5"], "--sparsity: expected numbers from 0 to below 1"),
        (["--sparsity", "0.9", "--masks", "best"], "expected uniform or magnitude"),
    ],
)
def test_refusals(arguments, words, capsys):
    assert run([*MODEL, *arguments]) == 2
    assert words in capsys.readouterr().err


def test_networks_that_begin_with_an_embedding_get_indices():
    example = _example(nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2)), "2x5")
    assert example.dtype == torch.int64
    assert int(example.max()) < 7
    assert _example(nn.Linear(4, 2), "2x4").dtype == torch.float32
