"""Finished runs on disk: one JSON file a run, named by the run's key, whole or absent.

The working folder (build/study) is where runs put their files; benchmarks/results/methods.json is what was collected from it, with the
record and the outcome of every run, so that a later study need not repeat them.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.runs import Run
from gossamer.bench import machine
from gossamer.files import write_atomic

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "study"
RESULT = ROOT / "benchmarks" / "results" / "methods.json"

Finished = dict[str, dict[str, Any]]


def path_of(run: Run, folder: Path) -> Path:
    """Where its result lies."""
    return folder / f"{run.key}.json"


def put(run: Run, outcome: Mapping[str, Any], folder: Path, commit: str) -> None:
    """The result of a run, with what it was made by and on."""
    record = {
        "key": run.key,
        "name": run.name,
        "run": asdict(run),
        "outcome": dict(outcome),
        "commit": commit,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{machine.cpu_model()} ({machine.isa()})",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    write_atomic(path_of(run, folder), (json.dumps(record, indent=1) + "\n").encode())


def finished(folder: Path, collected: Path | None = RESULT) -> Finished:
    """All finished runs, those of the folder and those collected before, by key; a key holds the version, so that others match no plan."""
    records: list[dict[str, Any]] = []
    if collected is not None and collected.is_file():
        records += json.loads(collected.read_text())["runs"]
    records += [json.loads(path.read_text()) for path in sorted(folder.glob("????????????????.json"))]
    return {record["key"]: record for record in records}


def commit_of_code() -> str:
    """The commit that the code stands at; `+` where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")


@contextmanager
def claimed(run: Run, folder: Path) -> Iterator[bool]:
    """Whether this process may train the run: False while another process does. The claim ends with the process, even if it is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / f"{run.key}.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(handle)
