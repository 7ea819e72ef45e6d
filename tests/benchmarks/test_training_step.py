"""The training benchmark: its promised keys on a tiny network, its refusals, the networks themselves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gossamer.bench.training import ENGINES, Plan, measure, network
from gossamer.bench.training.engines import engines_of
from gossamer.errors import BudgetError, PatternError

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, "benchmarks/training_step.py"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SCRIPT, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_promised_keys() -> None:
    done = run("--layers", "64,96,96,10", "--batch", "16", "--sparsity", "0.5,0.75", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["sparsity"] for row in found["records"]] == [0.5, 0.75]
    for key in ("ratio_over_dense", "ratio_over_masked", "memory_ratio", "peak_mib"):
        assert found[key] > 0
    assert "ratio_over_sparselab" in found
    assert found["memory_ratio"] > found["records"][1]["memory_ratio"]
    assert found["network"] == "mlp 64-96-96-10"


@pytest.mark.parametrize("name", ["dense", "masked", "compact"])
def test_every_engine_learns(name: str) -> None:
    setting = Plan(layers=(16, 32, 32, 10), sparsity=0.5, batch=8, optimizer="adam").setting()
    trained = ENGINES[name](setting)
    for _ in range(3):
        trained.step()
    whole = 16 * 32 + 32 * 32 + 32 * 10
    kept = whole // 2 if name == "compact" else whole  # the last layer is dense, and counts
    held = trained.memory()
    assert held.weights == held.gradients == 4 * (kept + 32 + 32 + 10)
    assert held.optimizer >= 2 * held.weights
    assert (held.indices > 0) == (name != "dense")


def test_networks() -> None:
    cnn = network("cnn")
    model = cnn.build()
    shapes = [tuple(layer.weight.shape[:2]) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert shapes == [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (512, 256)]
    assert model(torch.zeros(2, *cnn.sample)).shape == (2, 10)
    assert network("resnet20").build()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    inputs, labels = cnn.examples(3)
    assert inputs.shape == (3, 3, 32, 32)
    assert torch.equal(inputs, cnn.examples(3)[0])
    assert labels.shape == (3,)


def test_engines_of_a_setting() -> None:
    assert engines_of(Plan(model="cnn").setting()) == (
        "dense",
        "dense NHWC",
        "masked",
        "masked NHWC",
        "compact",
    )
    assert "sparselab" not in engines_of(Plan(pattern="block:4x1").setting())


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(model="vgg"), "--model: expected one of mlp, resnet20, cnn, got 'vgg'"),
        (Plan(model="cnn", layers=(1, 2, 3)), "--layers: expected with --model mlp only"),
        (Plan(layers=(8, 2)), "at least three positive widths such as 1024,4096,10, got 8,2"),
        (Plan(sparsity=1.0), "--sparsity: expected 0 <= sparsity < 1, got 1.0"),
        (Plan(batch=0), "--batch: expected at least 1 example, got 0"),
        (Plan(optimizer="lion"), "--optimizer: expected one of sgd, adam, got 'lion'"),
    ],
)
def test_settings_that_are_refused(plan: Plan, words: str) -> None:
    with pytest.raises(BudgetError, match=words):
        measure(plan)


def test_a_pattern_that_is_refused() -> None:
    with pytest.raises(PatternError, match="got 'stripes'"):
        measure(Plan(pattern="stripes"))


def test_wrong_options_are_told_before_anything_is_measured() -> None:
    done = run("--sparsity", "0.9,half")
    assert done.returncode != 0
    assert "training_step: --sparsity: expected numbers separated by commas, got '0.9,half'" in done.stderr
    done = run("--pattern", "stripes", "--json")
    assert done.returncode != 0
    assert done.stderr.startswith("training_step: ")
    assert not done.stdout
    done = run("--quick", "--store")
    assert done.returncode != 0
    assert "a quick run is never stored" in done.stderr


@pytest.mark.parametrize("method", ["set", "mest"])
def test_the_peak_is_measured_with_edits_in_the_window(method: str) -> None:
    setting = Plan(layers=(16, 32, 32, 10), sparsity=0.5, batch=8, method=method, every=2).setting()
    assert [len(setting.method.edits_at(step)) for step in range(1, 6)] == [0, 1, 0, 1, 0]
    trained = ENGINES["compact"](setting)
    for _ in range(5):
        trained.step()
    with pytest.raises(BudgetError, match="--method: expected one of static, set, mest, got 'gap'"):
        Plan(method="gap").setting()
