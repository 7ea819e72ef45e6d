"""Masked against compact storage: the row from made-up runs, and what is said when a run fails."""

import subprocess

import pytest

from benchmarks import storages


def test_a_row_of_made_up_runs(tmp_path, monkeypatch):
    found = {"masked": {0: 90.0, 1: 92.0, 2: 91.0}, "compact": {0: 90.5, 1: 92.0, 2: 90.5}}
    monkeypatch.setattr(
        storages, "accuracy", lambda recipe, settings, storage, seed, folder: found[storage][seed]
    )
    row = storages.compare("r", ["train.epochs=4"], [0, 1, 2], tmp_path)
    assert (row["recipe"], row["settings"], row["accuracies"]) == ("r", ["train.epochs=4"], found)
    assert row["masked"]["mean"] == row["compact"]["mean"] == pytest.approx(91.0)
    assert row["spread"] == 2.0
    assert row["difference"]["mean"] == pytest.approx(0.0)
    assert row["difference"]["half"] == pytest.approx(4.303 * 0.5 / 3**0.5)  # of 0.5, 0, -0.5


def test_a_run_that_fails_says_why(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 2, stdout="", stderr="error: no such data\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **options: failed)
    with pytest.raises(
        SystemExit, match=r"train r train.storage=compact seed=3 .* failed: error: no such data"
    ):
        storages.accuracy("r", [], "compact", 3, tmp_path)
