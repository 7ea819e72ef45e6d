"""Trains one run of the study in a process of its own, pinned to one core: `python -m benchmarks.study.one RUN.json FOLDER [CPU]`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.study import store
from benchmarks.study.runs import from_dict
from benchmarks.study.training import train


def main() -> None:
    """Read the run, train, store."""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        os.sched_setaffinity(0, {int(sys.argv[3])})
    run = from_dict(json.loads(source.read_text()))
    commit = store.commit_of_code()
    with store.claimed(run, folder) as mine:
        if mine and not store.path_of(run, folder).exists():
            store.put(run, train(run), folder, commit)


if __name__ == "__main__":
    main()
