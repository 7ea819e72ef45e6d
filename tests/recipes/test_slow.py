"""The slow ones: killed while training, and every shipped recipe with --quick."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import RECIPE

from gossamer.recipes import library
from gossamer.recipes.run_folder import RunFolder

pytestmark = pytest.mark.slow


def command(*words):
    return [sys.executable, "-m", "gossamer.cli", *map(str, words)]


def start(recipe, out):
    return subprocess.Popen(
        command("train", recipe, "--out", out), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


@pytest.fixture
def recipe(tmp_path):
    """Long enough to be hit: 40 epochs, a checkpoint after each."""
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace("epochs: 3", "epochs: 40"))
    return path


def test_sigkill_at_any_moment_loses_nothing(tmp_path, recipe):
    whole, killed = RunFolder(path=tmp_path / "whole"), RunFolder(path=tmp_path / "killed")
    assert start(recipe, whole.path).wait(timeout=300) == 0
    for delay in (0.0, 0.013, 0.031, 0.07, 0.11):
        before = killed.checkpoint.stat().st_mtime_ns if killed.checkpoint.exists() else 0
        process = start(recipe, killed.path)
        while process.poll() is None and (
            not killed.checkpoint.exists() or killed.checkpoint.stat().st_mtime_ns == before
        ):
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(recipe, killed.path).wait(timeout=300) == 0
    assert whole.model.read_bytes() == killed.model.read_bytes()
    assert whole.masks.read_bytes() == killed.masks.read_bytes()
    assert [row["step"] for row in whole.rows()] == [row["step"] for row in killed.rows()]


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, recipe):
    folder = RunFolder(path=tmp_path / "run")
    process = subprocess.Popen(
        command("train", recipe, "--out", folder.path), stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not folder.checkpoint.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the state is saved" in said
    assert f"Go on with: gossamer train {recipe} --out {folder.path}" in said
    assert "Traceback" not in said
    assert not folder.is_finished


@pytest.mark.parametrize("name", library.names())
def test_every_recipe_quick(tmp_path, name):
    done = subprocess.run(
        command("train", name, "--quick", "--json", "--out", tmp_path / "run"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    assert done.returncode == 0, done.stderr
    assert '"quick": true' in done.stdout
    folder = RunFolder(path=tmp_path / "run")
    assert folder.is_finished
