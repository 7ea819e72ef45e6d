"""The scripts start both ways, and the shared command line measures a tiny network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import all as everything
from gossamer.bench.script import as_object, main, store
from gossamer.bench.workload import Sweep, Workload

ROOT = Path(__file__).parents[2]
SCRIPTS = (
    "resnet50",
    "mobilenet",
    "transformer",
    "rnn",
    "layers",
    "efficientnet_lite0",
    "startup",
    "training_step",
    "all",
)
TINY = Workload(
    name="tiny",
    model=lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4)
    ),
    example=lambda batch, generator: torch.randn(batch, 3, 8, 8, generator=generator),
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_both_ways_of_starting(name):
    for how in ([f"benchmarks/{name}.py"], ["-m", f"benchmarks.{name}"]):
        done = subprocess.run(
            [sys.executable, *how, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "--quick" in done.stdout


def test_one_object_with_the_promised_keys(capsys, tmp_path):
    arguments = [
        "--sparsity",
        "0.5,0.75",
        "--batch",
        "2",
        "--quick",
        "--json",
        "--against",
        "torch",
        "--plot",
    ]
    main(
        script="tiny",
        doc="Tiny.",
        workloads={"tiny": TINY},
        results=tmp_path / "tiny.json",
        arguments=[*arguments, str(tmp_path / "tiny.html")],
    )
    found = json.loads(capsys.readouterr().out)
    assert [record["sparsity"] for record in found["records"]] == [0.5, 0.75]
    assert set(found["ms"]) == {"torch", "gossamer"}
    assert found["ratio_over_best_dense"] is None  # neither ONNX Runtime nor OpenVINO was asked for
    assert found["max_rel_error"] < 1e-5
    assert found["quick"] is True
    assert {"name", "kernel", "gflops", "roof_share"} <= set(found["layers"][0])
    assert "<svg" in (tmp_path / "tiny.html").read_text()
    assert not (tmp_path / "tiny.json").exists()


def test_a_pattern_that_fixes_its_sparsity_stands_once():
    sweep = Sweep(sparsities=(0.8, 0.9), patterns=("2:4", "block:4x1"))
    assert sweep.variants() == [(None, "2:4"), (0.8, "block:4x1"), (0.9, "block:4x1")]


def test_a_stored_configuration_is_replaced_and_others_stay(tmp_path):
    def row(sparsity: float, ratio: float) -> dict:
        named = {"network": "n", "pattern": "unstructured", "dtype": "float32", "batch": 1, "threads": 1}
        return {**named, "sparsity": sparsity, "ratio": ratio}

    path = tmp_path / "n.json"
    store(path, "n", [row(0.8, 1.0), row(0.9, 1.0)])
    store(path, "n", [row(0.9, 2.0)])
    kept = json.loads(path.read_text())
    assert [(r["sparsity"], r["ratio"]) for r in kept["records"]] == [(0.8, 1.0), (0.9, 2.0)]
    assert kept["machine"]["cpus"] >= 1
    assert as_object([row(0.8, 1.0)])["records"] == []


def test_everything_names_scripts_that_exist():
    assert all((ROOT / "benchmarks" / f"{script.name}.py").is_file() for script in everything.RUNS)
    assert sum(script.seconds for script in everything.RUNS) < 30 * 60


def test_everything_goes_on_after_a_failure(monkeypatch, capsys):
    scripts = [everything.Script(name=name, seconds=90) for name in ("first", "second", "third")]
    codes = {"benchmarks.first": 0, "benchmarks.second": 3, "benchmarks.third": None}
    called = []

    def pretended(command, **options):
        called.append(command[2:])
        if codes[command[2]] is None:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return subprocess.CompletedProcess(command, codes[command[2]])

    monkeypatch.setattr(subprocess, "run", pretended)
    assert everything.run(scripts, quick=False) == [
        "second --store: exit code 3",
        "third --store: more than 900 s",
    ]
    assert called == [[name, "--store"] for name in codes]
    told = capsys.readouterr().out
    assert "[1/3, about 5 min left]" in told
    assert "[3/3, about 2 min left]" in told


def test_an_unknown_name_is_refused():
    with pytest.raises(SystemExit, match=r"--only: expected names of .*rnn.*, got lstm"):
        everything.chosen("rnn,lstm")
