"""Kept score: how much of the best unstructured mask's score each pattern keeps, and what the greedy projection loses.

Normal random weights 32 x 256 at 90.6 % sparsity, score |w|, 20 draws; random weights are the hard case for patterns with units.

    python benchmarks/patterns.py            writes benchmarks/results/patterns.json and prints the table
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from gossamer.bench.machine import describe
from gossamer.sparsity.patterns import Unstructured, nearest_count, parse_pattern

SHAPE, SPARSITY, DRAWS = (32, 256), 0.906, 20
PATTERNS = (
    "unstructured",
    "gs:8,1",
    "gs:8,1,greedy",
    "gs:8,2",
    "gs:8,2,greedy",
    "gs:8,4",
    "gs:8,4,greedy",
    "gs:8,8",
    "gs:16,1",
    "window:8",
    "1:8",
    "block:4x1",
    "block:8x1",
    "block:1x4",
)
RESULT = Path(__file__).parent / "results" / "patterns.json"


def measure(text: str, draws: int) -> dict[str, object]:
    """One row: mean and lowest ratio of kept scores, and the median time of one projection."""
    pattern = parse_pattern(text)
    num_kept = pattern.target(SHAPE) or nearest_count(
        pattern.counts(SHAPE), (1 - SPARSITY) * SHAPE[0] * SHAPE[1]
    )
    ratios, seconds = [], []
    pattern.mask(torch.rand(SHAPE), num_kept)  # the first call of a kind pays for caches
    for seed in range(draws):
        scores = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).abs()
        start = time.perf_counter()
        mask = pattern.mask(scores, num_kept)
        seconds.append(time.perf_counter() - start)
        best = Unstructured().mask(scores, num_kept)
        ratios.append(float(scores[mask].sum() / scores[best].sum()))
    return {
        "pattern": text,
        "num_kept": num_kept,
        "kept_mean": round(statistics.mean(ratios), 5),
        "kept_lowest": round(min(ratios), 5),
        "milliseconds_median": round(1e3 * statistics.median(seconds), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="3 draws instead of 20; not to be quoted, writes no file"
    )
    quick = parser.parse_args().quick
    rows = [measure(text, 3 if quick else DRAWS) for text in PATTERNS]
    print("| pattern | kept entries | kept score, mean | lowest | ms |\n| --- | --: | --: | --: | --: |")
    for row in rows:
        print(
            "| `{pattern}` | {num_kept} | {kept_mean:.4f} | {kept_lowest:.4f} | {milliseconds_median:.1f} |".format(
                **row
            )
        )
    if not quick:
        RESULT.parent.mkdir(exist_ok=True)
        about = {
            "command": "python benchmarks/patterns.py",
            "date": datetime.now(UTC).date().isoformat(),
            "shape": SHAPE,
            "sparsity": SPARSITY,
            "draws": DRAWS,
            "weights": "normal",
            "machine": describe(),
            "rows": rows,
        }
        RESULT.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
