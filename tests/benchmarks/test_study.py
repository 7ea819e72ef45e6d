"""The pure parts of the study of methods: cost and length, statistics, plan, storage, and that runs are taken up where they stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import nn

from benchmarks.study import collect, cost, loop, packages, plan, statistics, store, training
from benchmarks.study.contenders import CONTENDERS, method_of
from benchmarks.study.runner import Runner
from benchmarks.study.runs import from_dict
from gossamer.training import Protection, Sparsifier
from gossamer.training.cost import LayerUse
from gossamer.training.methods import GaP, Gradual, Method

ROOT = Path(__file__).parents[2]
USES = {
    "first.weight": LayerUse(size=36, positions=100, needs_dx=False, trains=True),
    "middle.weight": LayerUse(size=288, positions=25, needs_dx=True, trains=True),
    "last.weight": LayerUse(size=80, positions=1, needs_dx=True, trains=True),
}


class Net(nn.Module):
    """A small network on 1x12x12 inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = (
            nn.Conv2d(1, 4, 3),
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
            nn.Linear(8, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.first(x)).mean((2, 3)))


def test_uses_of_a_network():
    found = cost.uses_of(Net(), (1, 12, 12))
    assert [(use.size, use.positions, use.needs_dx) for use in found.values()] == [
        (36, 100, False),
        (288, 25, True),
        (80, 1, True),
    ]


def test_one_step_by_hand():
    # first: 36 weights, 100 positions, forward and weights; middle: 288 at 25, last: 80 at 1, each three times
    assert cost.step_macs(USES, {}) == 2 * 3600 + 3 * 7200 + 3 * 80
    assert cost.step_macs(USES, {"middle.weight": 10}) == 2 * 3600 + 3 * 250 + 3 * 80
    with_dense_gradients = cost.step_macs(USES, {"middle.weight": 10}, dense_gradients=True)
    assert with_dense_gradients == 2 * 3600 + (250 + 250 + 7200) + 3 * 80


def test_a_run_by_hand():
    parts = [
        cost.Segment(begin=0, end=3, counts={"middle.weight": 20}, dense_gradients=True),
        cost.Segment(begin=3, end=10, counts={"middle.weight": 10}),
    ]
    sparse = [7440 + 75 * kept for kept in (20, 10)]
    assert cost.macs(USES, parts, batch_size=2) == 2 * (3 * sparse[0] + (7200 - 500) + 7 * sparse[1])


def test_an_edit_acts_on_the_step_after_it():
    found = cost.segments(
        Gradual(sparsity=0.5, every=4, stop=4), cost.shapes_of(Net(), "unstructured", Protection()), 10
    )
    assert [(part.begin, part.end) for part in found] == [(0, 4), (4, 10)]
    assert [sum(part.counts.values()) for part in found] == [
        288,
        202 - 116,
    ]  # half of 404, less the two dense layers


def deep() -> nn.Sequential:
    """Six layers, four of which may be masked."""
    return nn.Sequential(*(nn.Linear(12, 12) for _ in range(6)))


def trained(method: Method, steps: int) -> list[dict[str, int]]:
    """The kept weights of every update of a real run."""
    torch.manual_seed(0)
    if isinstance(method, GaP):
        method = dataclasses.replace(method, order="cyclic")  # a Sparsifier has one worker
    model = deep()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, method, optimizer)
    found = []
    for _ in range(steps):
        found.append({name: int(mask.sum()) for name, mask in sparsifier.masks.items()})
        optimizer.zero_grad()
        model(torch.randn(2, 12)).square().sum().backward()
        optimizer.step()
    return found


@pytest.mark.parametrize("name", [name for name in CONTENDERS if name != "dense"])
def test_the_schedule_says_what_training_does(name):
    method = method_of(name, CONTENDERS[name].settings, 0.5, "unstructured", 50)
    assert method is not None
    parts = cost.segments(method, cost.shapes_of(deep(), "unstructured", Protection()), 50)
    planned = [part.counts for part in parts for _ in range(part.end - part.begin)]
    assert planned == trained(method, 50)


@pytest.mark.parametrize("sparsity", plan.BUDGETS)
def test_a_sparsity_may_spend_what_its_static_mask_costs(sparsity):
    static = training.length_of(plan.run_of("static", sparsity=sparsity, epochs=plan.EPOCHS))
    assert plan.BUDGETS[sparsity] == pytest.approx(static.dense_epochs, abs=1e-3)
    assert plan.BUDGETS[sparsity] >= static.dense_epochs


@pytest.mark.parametrize("name", list(CONTENDERS))
@pytest.mark.parametrize("sparsity", [0.8, 0.98])
def test_every_run_uses_the_budget_up(name, sparsity):
    length = training.length_of(plan.run_of(name, sparsity=None if name == "dense" else sparsity, budget=1.0))
    assert 0.97 < length.dense_epochs <= 1.0


def test_a_dense_epoch_costs_one():
    length = training.length_of(plan.run_of("dense", epochs=2))
    assert (length.num_steps, length.dense_epochs) == (156, 2.0)


def test_interval_against_scipy():
    values = [90.1, 91.3, 89.9, 90.4, 90.8]
    found = statistics.estimate(values)
    low, high = stats.t.interval(0.95, len(values) - 1, found.mean, stats.sem(values))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high), rel=1e-4)


@pytest.mark.parametrize("freedom", range(1, 10))
def test_quantiles_of_t(freedom):
    assert statistics.T_975[freedom - 1] == pytest.approx(stats.t.ppf(0.975, freedom), abs=5e-4)


def test_a_run_survives_json():
    run = plan.run_of("rigl", sparsity=0.95, budget=2.5, seed=3)
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(run)))).key == run.key


def test_every_setting_is_in_the_key():
    run = plan.run_of("rigl", sparsity=0.95, budget=2.5)
    changed = [
        dataclasses.replace(run, seed=1),
        dataclasses.replace(run, pattern="block:4x1"),
        dataclasses.replace(run, settings={**run.settings, "every": 0.2}),
        dataclasses.replace(run, loop=dataclasses.replace(run.loop, lr=0.1)),
        dataclasses.replace(run, images=1280),
    ]
    assert len({run.key, *(other.key for other in changed)}) == 6


def outcome(accuracy: float) -> dict[str, object]:
    return {"accuracy": accuracy, "epochs": 1.0, "num_steps": 78, "examples": 128 * 78, "dense_epochs": 2.5, "peak_density": 1.0,
            "final_sparsity": 0.95, "cpu_seconds": 1.0, "seconds": 1.0}  # fmt: skip


def finished(rows: list[plan.Row], accuracies: dict[str, float]) -> dict[str, dict[str, object]]:
    """Made-up results of all runs of these rows; seeds differ by a tenth of a point."""
    return {
        run.key: {"key": run.key, "outcome": outcome(accuracies.get(run.method, 50.0) + 0.1 * run.seed)}
        for row in rows
        for run in row.runs()
    }


def test_leaders_follow_when_all_of_95_percent_is_there():
    first = [row for row in plan.rows({}) if row.group == "95 %"]
    done = finished(first, {"rigl": 90.0, "gradual": 89.0, "set": 88.0, "static": 87.0})
    assert plan.leaders(first, done) == ["rigl", "gradual", "set", "static"]
    groups = {row.group for row in plan.rows(done)}
    assert {"80 %", "90 %", "98 %"} <= groups
    done.popitem()
    assert plan.leaders(first, done) == []


def test_quick_leaves_nothing_out():
    full = {(row.group, row.run.method, row.run.sparsity, row.run.pattern) for row in plan.rows({})}
    quick = plan.rows({}, quick=True)
    assert {(row.group, row.run.method, row.run.sparsity, row.run.pattern) for row in quick} == full
    assert all(row.run.images == 1280 and row.seeds == (0,) for row in quick)


@pytest.mark.parametrize("quick", [False, True])
def test_optional_rows_stand_in_the_result_once_they_are_run(quick):
    rows = plan.rows({}, extra=("epochs",), quick=quick)
    optional = [row for row in rows if row.optional]
    assert {row.group for row in optional} == {"95 %, equal epochs"}
    without = collect.collected(rows, [], {}, quick=quick)["rows"]
    assert len(without) == len(rows) - len(optional)
    within = collect.collected(rows, [], finished(optional[:1], {}), quick=quick)["rows"]
    assert len(within) == len(without) + 1


def test_whole_seeds_first():
    order = plan.in_order([row for row in plan.rows({}) if row.group == "95 %"])
    assert [run.seed for run in order] == sorted(run.seed for run in order)


def test_rows_and_verdicts_of_made_up_results():
    rows = plan.rows({})
    done = finished(rows, {"rigl": 90.0, "gradual": 89.0})
    lines = {
        (row["group"], row["method"]): row for row in collect.collected(rows, [], done, quick=False)["rows"]
    }
    found = lines["95 %", "rigl"]
    assert found["full"]
    assert found["accuracy"] == pytest.approx(90.2)
    assert found["interval"] == pytest.approx(
        2.776 * 0.1 * 2.5**0.5 / 5**0.5
    )  # seeds 0 ... 0.4: a variance of 0.025


def test_verdicts_of_made_up_results():
    rows = plan.rows({})
    done = finished(rows, {"rigl": 90.0, "gradual": 89.0, "c-gap": 91.0, "p-gap": 89.5})
    found = {
        (entry["first"], entry["over"], entry["sparsity"]): (entry["difference"], entry["verdict"])
        for entry in collect.verdicts(rows, done)
    }
    assert len(found) == 12
    for sparsity in (0.95, 0.98):
        assert found["c-gap", "rigl", sparsity] == (pytest.approx(1.0), "confirmed")
        assert found["p-gap", "gradual", sparsity] == (pytest.approx(0.5), "confirmed")
        assert found["p-gap", "rigl", sparsity] == (pytest.approx(-0.5), "contradicted")
        assert found["em&s", "gradual", sparsity][1] == "contradicted"
    assert {entry["verdict"] for entry in collect.verdicts(rows, {})} == {"not run yet"}


@pytest.mark.parametrize(
    ("differences", "removed", "verdict"),
    [
        ((-0.2, -0.1, 0.1, 0.0, -0.1), 0.25, "confirmed"),  # -0.06 +- 0.14: above -0.3
        ((-0.6, -0.1, 0.3, 0.0, -0.1), 0.25, "undecided"),
        ((-0.6, -0.5, -0.6, -0.5, -0.4), 0.25, "contradicted"),
        ((-0.2, -0.1, 0.1, 0.0, -0.1), 0.19, "contradicted"),  # too few removed
        ((-0.2, -0.1, 0.1, 0.0), 0.25, "undecided (4 of 5 seeds)"),
    ],
)
def test_the_verdict_on_the_sieve(differences, removed, verdict):
    rows = [row for row in plan.rows({}) if row.group == "sieve"]
    done = finished(rows, {})
    within = next(row for row in rows if "sieve" in row.run.settings)
    for run in within.runs():
        if run.seed >= len(differences):
            del done[run.key]
            continue
        done[run.key]["outcome"]["accuracy"] += differences[run.seed]
        done[run.key]["outcome"]["removed"] = removed + 0.01 * run.seed
    found = collect.sieve(rows, done)
    assert (found["verdict"], found["removed"]) == (verdict, pytest.approx(removed))
    assert found["difference"] == pytest.approx(sum(differences) / len(differences))


def test_a_quick_study_is_never_stored():
    command = [sys.executable, "benchmarks/methods.py", "--quick", "--collect"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--quick is stored nowhere" in done.stderr


def test_a_record_on_disk_is_found_again(tmp_path):
    run = plan.run_of("static", sparsity=0.9, budget=1.0)
    assert store.finished(tmp_path, None) == {}
    store.put(run, outcome(90.0), tmp_path, "abc")
    assert store.finished(tmp_path, None)[run.key]["outcome"]["accuracy"] == 90.0


def test_a_run_belongs_to_one_process(tmp_path):
    run = plan.run_of("static", sparsity=0.9, budget=1.0)
    with store.claimed(run, tmp_path) as mine:
        assert mine
        with store.claimed(run, tmp_path) as again:
            assert not again
    with store.claimed(run, tmp_path) as later:
        assert later


def test_what_is_finished_is_not_run_again_and_failures_do_not_end_the_rest(tmp_path, monkeypatch):
    runs = [plan.run_of("static", sparsity=0.9, budget=1.0, seed=seed) for seed in range(4)]
    store.put(runs[0], outcome(90.0), tmp_path, "abc")
    started = []

    class Pretended:
        """A child that stores its result at once; seed 2 fails."""

        def __init__(self, command: list[str], **options: object) -> None:
            run = from_dict(json.loads(Path(command[3]).read_text()))
            started.append(run.seed)
            self.returncode = int(run.seed == 2)
            if not self.returncode:
                store.put(run, outcome(91.0), tmp_path, "abc")

        def poll(self) -> int:
            return self.returncode

        def terminate(self) -> None: ...

    monkeypatch.setattr(subprocess, "Popen", Pretended)
    monkeypatch.setattr(store, "finished", lambda folder, finished=store.finished: finished(folder, None))
    told: list[str] = []
    runner = Runner(plan=lambda done: runs, folder=tmp_path, jobs=2, hours=lambda left: 0.0, say=told.append)
    assert runner.run() == [runs[2].name]
    assert sorted(started) == [1, 2, 3]
    assert any("FAILED" in words for words in told)


def test_a_study_that_is_told_to_end_ends_its_runs(tmp_path, monkeypatch):
    ended = []

    class Pretended:
        """A child that trains for ever; meanwhile the study is told to end."""

        def __init__(self, command: list[str], **options: object) -> None: ...

        def poll(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        def terminate(self) -> None:
            ended.append(self)

    monkeypatch.setattr(subprocess, "Popen", Pretended)
    monkeypatch.setattr(store, "finished", lambda folder: {})
    before = signal.getsignal(signal.SIGTERM)
    runs = [plan.run_of("static", sparsity=0.9, budget=1.0, seed=seed) for seed in range(3)]
    runner = Runner(plan=lambda done: runs, folder=tmp_path, jobs=2, hours=lambda left: 0.0, say=print)
    with pytest.raises(SystemExit):
        runner.run()
    assert len(ended) == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_batches_of_an_epoch():
    found = list(loop.batches(300, 5, batch_size=128, seed=0))
    assert [(step, epoch) for step, epoch, _ in found] == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]
    assert len(set(found[0][2]) | set(found[1][2])) == 256


def test_packages_of_one_source_stay_together():
    text = "\n\n".join(
        f"Package: {source}-{part}\nSource: {source}\nDepends: libc6\nDescription: part {part}\nSection: {section}"
        for section in ("net", "doc")
        for source in (f"{section}{number}" for number in range(60))
        for part in ("a", "bin")
    )
    found = packages.table(packages.packages(text))
    assert found["classes"].tolist() == ["doc", "net"]
    assert found["features"].shape == (240, 3)  # "part" and "bin", and libc6; a word has two letters
    assert found["features"].sum(0).tolist() == [240, 120, 240]
    pairs = found["split"].reshape(-1, 2)  # sorted by source
    assert (pairs[:, 0] == pairs[:, 1]).all()
    assert {packages.TEST, packages.VALIDATION, packages.TRAIN} == set(found["split"].tolist())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rigl", "p-gap", "em&s"])
def test_equal_records_have_equal_outcomes(name):
    run = plan.run_of(name, sparsity=0.9, budget=0.3, images=1280, test_images=500, seed=2)
    first, second = training.train(run), training.train(run)
    times = {"seconds", "cpu_seconds"}
    assert {key: first[key] for key in first.keys() - times} == {
        key: second[key] for key in second.keys() - times
    }
    assert first["dense_epochs"] == pytest.approx(first["dense_epochs_planned"], rel=1e-12)


@pytest.mark.slow
def test_the_quick_study_has_every_method():
    command = [sys.executable, "benchmarks/methods.py", "--quick", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["quick"] is True
    assert all(row["full"] for row in result["rows"])
    assert {row["method"] for row in result["rows"]} == set(CONTENDERS)
    assert {row["sparsity"] for row in result["rows"]} == {None, 0.8, 0.9, 0.95, 0.98}
    assert {row["pattern"] for row in result["rows"]} == {"unstructured", "block:4x1", "taps:4", "gs:8,1"}
    assert all(0.8 < row["dense_epochs"] / 0.5 <= 1 for row in result["rows"] if row["equal_cost"])


@pytest.mark.parametrize("arguments", [["--list"], ["--dry-run", "--choose"]])
def test_the_plan_on_the_terminal(arguments):
    command = [sys.executable, "benchmarks/methods.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "c-gap" in done.stdout
    assert "runs left" in done.stdout


def test_words_that_no_row_has_are_refused():
    command = [sys.executable, "benchmarks/methods.py", "--only", "lstm", "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected words of a row" in done.stderr
