"""Settings of the demo's recipes, compared on a validation split: training images of Fashion-MNIST that the recipes never see.

The recipes train on the embedded subset (the first 1,000 training images of each class); validation is 20,000 of the other 50,000.
Test images play no part. Two runs go side by side, a thread each, so that the times mean nothing here.

    gossamer data get fashion-mnist
    python -m benchmarks.choose_recipe train.epochs=10 --sparse method.stop=50% --sparse method.stop=40%
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.demo import DENSE_RECIPE, SPARSE_RECIPE
from gossamer.files import write_atomic
from gossamer.tasks.fashion_mnist import FASHION_MNIST
from gossamer.tasks.images import Split, normalized

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "choose_recipe.json"
EMBEDDED_PER_CLASS, VALIDATION_PER_CLASS = 1_000, 2_000


def validation_images() -> Split:
    """The training images of each class that follow those of the embedded subset."""
    train = FASHION_MNIST.data["full"].load().train
    chosen = [
        np.flatnonzero(train.labels == label)[EMBEDDED_PER_CLASS:][:VALIDATION_PER_CLASS]
        for label in range(len(FASHION_MNIST.labels))
    ]
    indices = np.sort(np.concatenate(chosen))
    return Split(images=train.images[indices], labels=train.labels[indices])


def train(recipe: str, settings: list[str], seed: int, folder: Path) -> Path:
    """Train on one thread, or take the finished run of exactly these settings; its weights."""
    words = "_".join([recipe.rpartition("-")[2], *settings, f"seed={seed}"]).replace("/", "-")
    run = folder / words
    if not (run / "result.json").exists():
        command = [
            sys.executable,
            "-m",
            "gossamer.cli",
            "train",
            recipe,
            *settings,
            f"seed={seed}",
            "--out",
            str(run),
        ]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return run / "model.safetensors"


def accuracy(weights: Path, split: Split) -> float:
    """Percent of the images that the network of the checkpoint labels rightly."""
    model = FASHION_MNIST.models["resnet20"]().eval()
    model.load_state_dict(load_file(weights))
    right = 0
    with torch.inference_mode():
        for start in range(0, len(split), 500):
            images = normalized(
                split.images[start : start + 500], mean=FASHION_MNIST.mean, std=FASHION_MNIST.std
            )
            labels = torch.from_numpy(split.labels[start : start + 500])
            right += int((model(torch.from_numpy(images)).argmax(1) == labels).sum())
    return 100 * right / len(split)


def compare(
    common: list[str], variants: list[list[str]], seeds: list[int], folder: Path
) -> list[dict[str, Any]]:
    """One row per sparse variant: accuracy of the dense twin and points lost, seed by seed."""
    split = validation_images()
    jobs = [(DENSE_RECIPE, common, seed) for seed in seeds]
    jobs += [(SPARSE_RECIPE, common + variant, seed) for variant in variants for seed in seeds]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: accuracy(train(*job, folder), split), jobs))
    dense, sparse = found[: len(seeds)], iter(found[len(seeds) :])
    rows = []
    for variant in variants:
        accuracies = [next(sparse) for _ in seeds]
        lost = [a - b for a, b in zip(dense, accuracies, strict=True)]
        rows.append(
            {"common": common, "sparse": variant, "seeds": seeds, "accuracy_dense": dense, "lost": lost}
        )
        shown = ", ".join(f"{points:.2f}" for points in lost)
        print(
            f"{' '.join(common + variant)}: dense {np.mean(dense):.2f}, lost {shown}, mean {np.mean(lost):.2f}"
        )
    return rows


def main() -> None:
    """Parse, compare, add to the stored rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("common", nargs="*", help="settings of both twins, such as train.epochs=10")
    parser.add_argument(
        "--sparse", nargs="+", action="append", help="settings of a sparse variant; repeat to compare"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "choose_recipe")
    options = parser.parse_args()
    rows = compare(options.common, options.sparse or [[]], options.seeds, options.folder)
    stored = json.loads(RESULT.read_text()) if RESULT.exists() else []
    write_atomic(RESULT, (json.dumps(stored + rows, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
