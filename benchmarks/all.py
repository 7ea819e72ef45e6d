"""Everything that docs/performance.md quotes, in order, on a quiet machine: about 20 minutes on two cores; then the pages are made anew.

Each script runs in a process of its own; one that fails or hangs is told at the end and does not end the others. Results are stored
script by script, each file whole or not at all.

python -m benchmarks.all                 measures, stores benchmarks/results/*.json, rewrites the generated parts of docs/
python -m benchmarks.all --only resnet50,rnn
python -m benchmarks.all --quick         tries that everything runs; nothing is stored
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 900  # seconds of one script; the longest takes three minutes


@dataclass(frozen=True, kw_only=True)
class Script:
    """One call of a script. seconds: what it takes about, for the time left. stores: it has --store and --quick."""

    name: str
    arguments: str = ""
    seconds: int
    stores: bool = True

    def words(self, quick: bool) -> list[str]:
        """Its arguments."""
        return [*self.arguments.split(), *([] if not self.stores else ["--quick"] if quick else ["--store"])]


RUNS: tuple[Script, ...] = (
    Script(
        name="resnet50",
        arguments="--sparsity 0.5,0.8,0.9,0.95 --pattern unstructured --rounds 20",
        seconds=90,
    ),
    Script(name="resnet50", arguments="--sparsity 0.9,0.95 --pattern block:4x1 --rounds 20", seconds=60),
    Script(name="resnet50", arguments="--sparsity 0.8,0.9 --dense-isa AVX512_CORE --rounds 20", seconds=60),
    Script(name="resnet50", arguments="--sparsity 0.8,0.9,0.95 --batch 8 --rounds 5", seconds=120),
    Script(name="resnet50", arguments="--sparsity 0.9 --threads 2 --rounds 20", seconds=45),
    Script(name="resnet50", arguments="--sparsity 0.9 --dtype float16 --rounds 20", seconds=45),
    Script(name="resnet50", arguments="--network resnet18 --sparsity 0.5,0.9 --rounds 20", seconds=40),
    Script(name="mobilenet", arguments="--sparsity 0.5,0.8,0.9", seconds=60),
    Script(
        name="transformer", arguments="--network deit_tiny --sparsity 0.5,0.8,0.9 --rounds 20", seconds=50
    ),
    Script(
        name="transformer", arguments="--network bert_base --sparsity 0.5,0.8,0.9 --rounds 8", seconds=110
    ),
    Script(
        name="rnn", arguments="--sparsity 0.5,0.8,0.9 --pattern gs:8,1,unstructured,block:8x1", seconds=110
    ),
    Script(name="efficientnet_lite0", arguments="--sparsity 0.8,0.9", seconds=40),
    Script(name="startup", seconds=60),
    Script(name="training_step", arguments="--sparsity 0.9,0.95,0.98", seconds=90),
    Script(name="training_step", arguments="--sparsity 0.9 --pattern block:4x1,block:8x1", seconds=60),
    Script(name="training_step", arguments="--sparsity 0.9 --optimizer adam", seconds=35),
    Script(name="training_step", arguments="--model resnet20 --sparsity 0.9,0.95", seconds=110),
    Script(name="training_step", arguments="--model cnn --sparsity 0.9,0.95", seconds=110),
    Script(
        name="layers",
        arguments="--pattern unstructured,block:4x1,block:8x1,gs:8,1,window:8 --rounds 15",
        seconds=180,
    ),
    Script(name="spmv", seconds=60, stores=False),
    Script(name="patterns", seconds=60, stores=False),
)


def chosen(only: str | None) -> list[Script]:
    """The calls of the scripts that are named; all without names."""
    names = {script.name for script in RUNS}
    wanted = set(only.split(",")) if only else names
    if wanted - names:
        raise SystemExit(
            f"--only: expected names of {', '.join(sorted(names))}, got {', '.join(sorted(wanted - names))}"
        )
    return [script for script in RUNS if script.name in wanted]


def run(scripts: Sequence[Script], quick: bool) -> list[str]:
    """Run them one after the other; what failed, a line each."""
    failed = []
    left = sum(script.seconds for script in scripts)
    for place, script in enumerate(scripts, start=1):
        words = script.words(quick)
        about = "" if quick else f", about {-(-left // 60)} min left"
        print(
            f"\n[{place}/{len(scripts)}{about}] python -m benchmarks.{script.name} {' '.join(words)}",
            flush=True,
        )
        left -= script.seconds
        start = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.{script.name}", *words]
        try:
            code = subprocess.run(command, cwd=ROOT, check=False, timeout=LIMIT).returncode
            why = f"exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            why = f"more than {LIMIT} s"
        print(f"{time.monotonic() - start:.0f} s{f', {why}' if why else ''}", flush=True)
        if why:
            failed.append(f"{script.name} {' '.join(words)}: {why}")
    return failed


def main() -> None:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", help="names separated by commas")
    parser.add_argument("--quick", action="store_true", help="fewer repeats; nothing is stored")
    options = parser.parse_args()
    scripts = [script for script in chosen(options.only) if script.stores or not options.quick]
    start = time.monotonic()
    failed = run(scripts, options.quick)
    if not options.quick:
        subprocess.run([sys.executable, "-m", "benchmarks.docs"], cwd=ROOT, check=True)
    print(f"\n{len(scripts) - len(failed)} of {len(scripts)} in {(time.monotonic() - start) / 60:.0f} min")
    for line in failed:
        print(f"failed: {line}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
