"""One training step (forward, gradients, update): compact layers over torch, over our own masks and over SparseLab; memory beside it.

    python benchmarks/training_step.py --sparsity 0.9 --json     one JSON object on standard output
    python benchmarks/training_step.py --model cnn --batch 16
    python benchmarks/training_step.py --method mest --optimizer adam        edits in the window whose peak is measured
    python benchmarks/training_step.py --sparsity 0.9,0.95 --store    puts the rows into results/training_step.json

Every engine trains the same network on the same batch, in turns, pinned to one CPU; float32. `ratio_*`: milliseconds of the other over
compact, minima. `memory_ratio`: bytes of weights, gradients, Adam's state and places over dense. `peak_mib`: the largest resident set of
five training steps in a fresh process, over the process before the network was built; with `--method` two of these steps end with an edit
(in the timings every hundredth, which minima do not see).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gossamer.bench.result import text_table
from gossamer.bench.script import as_object, split_patterns, store
from gossamer.bench.training import METHODS, MODELS, Plan, measure
from gossamer.errors import GossamerError

RESULT = Path(__file__).parent / "results" / "training_step.json"
HEADER = ["network", "pattern", "sparsity", "dense ms", "compact ms", "over dense", "over masked"]
HEADER += ["over sparselab", "memory", "peak MiB", "dense MiB"]


def line(row: dict[str, Any]) -> list[str]:
    """Cells of the table."""
    dense = min(ms for name, ms in row["ms"].items() if name.startswith("dense"))
    ratios = [row[f"ratio_over_{name}"] for name in ("dense", "masked", "sparselab")]
    return [
        ", ".join(
            [
                row["network"],
                *(row[key] for key in ("optimizer", "method") if row[key] not in ("sgd", "static")),
            ]
        ),
        row["pattern"],
        "–" if row["sparsity"] is None else f"{row['sparsity']:.0%}",
        f"{dense:.1f}",
        f"{row['ms']['compact']:.1f}",
        *("–" if found is None else f"{found:.2f}x" for found in ratios),
        f"{row['memory_ratio']:.3f}",
        f"{row['peak_mib']:.0f}",
        f"{row['peak_mib_dense']:.0f}",
    ]


def numbers(text: str, kind: type, option: str) -> list[Any]:
    """Of a list separated by commas.

    >>> numbers("0.9, 0.95", float, "--sparsity")
    [0.9, 0.95]
    """
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise SystemExit(
            f"training_step: {option}: expected numbers separated by commas, got {text!r}"
        ) from None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mlp", help=f"one of {', '.join(MODELS)}")
    parser.add_argument("--layers", help="widths of an mlp; default 1024,4096,4096,1024,10")
    parser.add_argument("--sparsity", default="0.9", help="0 to 1, several separated by commas")
    parser.add_argument(
        "--pattern", default="unstructured", help="unstructured, block:4x1, ..., separated by commas"
    )
    parser.add_argument("--optimizer", default="sgd", help="sgd (with momentum) or adam")
    parser.add_argument(
        "--method",
        default="static",
        help=f"one of {', '.join(METHODS)} (mest: EM&S, peak density 1.1 times the target's)",
    )
    parser.add_argument("--batch", type=int, help="examples of a step; default 128, cnn 32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="bursts of each engine; default 10, quick 2")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, nothing else; never stored")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--store", action="store_true", help=f"write the rows into {RESULT.name}")
    options = parser.parse_args()
    if options.threads < 1 or (options.rounds is not None and options.rounds < 1):
        parser.error("--threads, --rounds: expected at least 1")
    if options.quick and options.store:
        parser.error("--quick, --store: expected one of them; a quick run is never stored")
    rounds = options.rounds or (2 if options.quick else 10)
    layers = None if options.layers is None else tuple(numbers(options.layers, int, "--layers"))
    plans = [
        Plan(
            model=options.model,
            layers=layers,
            sparsity=sparsity,
            pattern=pattern,
            optimizer=options.optimizer,
            method=options.method,
            batch=options.batch,
            threads=options.threads,
            rounds=rounds,
        )
        for pattern in split_patterns(options.pattern)
        for sparsity in numbers(options.sparsity, float, "--sparsity")
    ]
    try:
        for plan in plans:
            plan.setting()  # what is wrong is told before anything is measured
        rows = [measure(plan, lambda text: print(text, file=sys.stderr, flush=True)) for plan in plans]
    except GossamerError as error:
        raise SystemExit(f"training_step: {error}") from None
    if options.json:
        print(json.dumps(as_object(rows)))
    else:
        print(text_table(HEADER, [line(row) for row in rows], left=(0, 1)))
    if options.store and not options.quick:
        store(RESULT, "training_step", rows)


if __name__ == "__main__":
    main()
