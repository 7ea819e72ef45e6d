"""Masked and compact storage from the same seeds: the final accuracy of a shipped recipe, five seeds each.

In float64 the two make equal masks at every edit and equal losses (tests/training/compact). In float32 their sums are rounded in another
order, so that edits differ somewhere after the first; what is left to show is that the trained networks are equally good. A run is one
process on one thread; finished runs are kept.

    python -m benchmarks.storages                   fashion-mnist-mlp-mest-compact, seeds 0 to 4: a few minutes; stores the result
    python -m benchmarks.storages --recipe fashion-mnist-resnet20-mest-compact train.epochs=4
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.study import statistics, store
from gossamer.bench import machine
from gossamer.files import write_atomic
from gossamer.recipes.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "storages.json"
STORAGES = ("masked", "compact")


def accuracy(recipe: str, settings: Sequence[str], storage: str, seed: int, folder: Path) -> float:
    """Final test accuracy in percent, of a new run or of the finished one of exactly these settings."""
    words = [*settings, f"train.storage={storage}", f"seed={seed}", "threads=1"]
    run = RunFolder(path=folder / "_".join([recipe, *words]).replace("/", "-"))
    if not run.is_finished:
        command = [sys.executable, "-m", "gossamer.cli", "train", recipe, *words, "--out", str(run.path)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise SystemExit(f"storages: {' '.join(command[3:])} failed: {done.stderr.strip()[-700:]}")
    return 100 * float(run.read_result()["test_accuracy"])


def compare(recipe: str, settings: Sequence[str], seeds: Sequence[int], folder: Path) -> dict[str, Any]:
    """One row: both accuracies seed by seed, their spread, and the paired difference with its interval."""
    found = {
        storage: {seed: accuracy(recipe, settings, storage, seed, folder) for seed in seeds}
        for storage in STORAGES
    }
    difference = statistics.paired(found["compact"], found["masked"])
    assert difference is not None
    return {
        "recipe": recipe,
        "settings": list(settings),
        "accuracies": found,
        **{storage: asdict(statistics.estimate(list(found[storage].values()))) for storage in STORAGES},
        "spread": max(found["masked"].values()) - min(found["masked"].values()),
        "difference": asdict(difference),
    }


def main() -> None:
    """Parse, train what is missing, add the row to the stored ones in place of an older one of equal settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help="overrides of the recipe, such as train.epochs=4")
    parser.add_argument("--recipe", default="fashion-mnist-mlp-mest-compact")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "storages")
    options = parser.parse_args()
    row = compare(options.recipe, options.settings, options.seeds, options.folder)
    print(
        f"{row['recipe']}: masked {row['masked']['mean']:.2f} %, compact {row['compact']['mean']:.2f} %, "
        f"compact less masked {row['difference']['mean']:+.2f} ± {row['difference']['half'] or 0:.2f} points; "
        f"seeds of the masked runs spread over {row['spread']:.2f}"
    )
    stored = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    others = [old for old in stored if (old["recipe"], old["settings"]) != (row["recipe"], row["settings"])]
    report = {
        "command": "python -m benchmarks.storages",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": store.commit_of_code(),
        "machine": machine.describe(),
        "rows": [*others, row],
    }
    write_atomic(RESULT, (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
