"""Everything that docs/performance.md quotes, in order, on a quiet machine: about 25 minutes on two cores; then the pages are made anew.

python -m benchmarks.all                 measures, stores benchmarks/results/*.json, rewrites the generated parts of docs/
python -m benchmarks.all --only resnet50,rnn
python -m benchmarks.all --quick         tries that everything runs; nothing is stored
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS: tuple[tuple[str, str], ...] = (
    ("resnet50", "--sparsity 0.5,0.8,0.9,0.95 --pattern unstructured --rounds 20 --store"),
    ("resnet50", "--sparsity 0.9,0.95 --pattern block:4x1 --rounds 20 --store"),
    ("resnet50", "--sparsity 0.8,0.9 --dense-isa AVX512_CORE --rounds 20 --store"),
    ("resnet50", "--sparsity 0.8,0.9,0.95 --batch 8 --rounds 5 --store"),
    ("resnet50", "--sparsity 0.9 --threads 2 --rounds 20 --store"),
    ("resnet50", "--sparsity 0.9 --dtype float16 --rounds 20 --store"),
    ("mobilenet", "--sparsity 0.5,0.8,0.9 --store"),
    ("transformer", "--network deit_tiny --sparsity 0.5,0.8,0.9 --rounds 20 --store"),
    ("transformer", "--network bert_base --sparsity 0.5,0.8,0.9 --rounds 8 --store"),
    ("rnn", "--sparsity 0.5,0.8,0.9 --pattern gs:8,1,unstructured,block:8x1 --store"),
    ("efficientnet_lite0", "--sparsity 0.8,0.9 --store"),
    ("startup", "--store"),
    ("layers", "--pattern unstructured,block:4x1,block:8x1,gs:8,1,window:8 --rounds 15 --store"),
    ("spmv", ""),
    ("patterns", ""),
)


def main() -> None:
    """Run the scripts one after the other; a failure is told and does not end the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", help="names separated by commas")
    parser.add_argument("--quick", action="store_true", help="fewer repeats; nothing is stored")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [name for name, _ in RUNS]
    failed = []
    for name, arguments in RUNS:
        if name not in wanted:
            continue
        words = [word for word in arguments.split() if not options.quick or word != "--store"]
        command = [
            sys.executable,
            "-m",
            f"benchmarks.{name}",
            *words,
            *(["--quick"] if options.quick else []),
        ]
        print(f"\n$ python -m benchmarks.{name} {' '.join(words)}", flush=True)
        start = time.monotonic()
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(f"{name} {arguments}".strip())
        print(f"{time.monotonic() - start:.0f} s", flush=True)
    if not options.quick:
        subprocess.run([sys.executable, "-m", "benchmarks.docs"], cwd=ROOT, check=True)
    for line in failed:
        print(f"failed: {line}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
