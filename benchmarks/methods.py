"""The methods compared at equal training cost (examples x MACs): ResNet-20 on Fashion-MNIST.

Every run is a process of its own on one core; what is finished is kept (build/study, one file a run), so the study can be killed and
started again at any time. `--collect` writes benchmarks/results/methods.json; `python -m benchmarks.docs` then makes the page's tables
and plots anew.

    python benchmarks/methods.py --list                 what there is to run, and what is finished
    python benchmarks/methods.py --dry-run              how long each run is, and the hours of them all
    python benchmarks/methods.py --jobs 2               all of it, two runs side by side: about 2.5 hours of two cores
    python benchmarks/methods.py --only rigl,set --only 98%    rows whose name contains one of the first and the last
    python benchmarks/methods.py --with full            optional rows, three seeds: full (all images, the leading four), second-domain
                                                        (sections of Debian packages, the leading four), epochs (equal epochs, all),
                                                        long (four times the cost, the methods of the claim)
    python benchmarks/methods.py --choose               the runs that settings were chosen by (validation images, other seeds)
    python benchmarks/methods.py --quick --json         every method, sparsity and pattern in minutes; means nothing, stored nowhere
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that the script finds its own package

from benchmarks.study import collect, plan, store
from benchmarks.study.runner import Runner
from benchmarks.study.runs import Run
from benchmarks.study.training import length_of

EXTRA = ("epochs", "full", "long", "second-domain")
SECONDS_PER_STEP = 0.16
"""Batch 128, bfloat16 autocast, one thread, a second run beside it (0.131 s alone on a quiet machine); until runs have been timed."""
SECONDS_TO_START = 5.0


@dataclass(frozen=True, kw_only=True)
class Study:
    """What was asked for on the command line."""

    folder: Path
    only: Sequence[str]
    extra: Sequence[str]
    seeds: Sequence[int] | None
    quick: bool
    choose: bool
    jobs: int

    def rows(self, done: store.Finished) -> list[plan.Row]:
        """The rows that are wanted, as far as they can be named now."""
        found = plan.choices() if self.choose else plan.rows(done, extra=self.extra, quick=self.quick)
        names = {id(row): f"{row.group}/{row.run.name}" for row in found}
        return [
            row
            for row in found
            if all(any(word in names[id(row)] for word in words.split(",")) for words in self.only)
        ]

    def runs(self, done: store.Finished) -> list[Run]:
        """Their runs, in order."""
        wanted = plan.in_order(self.rows(done))
        return [run for run in wanted if self.seeds is None or run.seed in self.seeds]

    def hours(self, left: Sequence[Run]) -> float:
        """How long these runs take, at the pace of those that are finished."""
        paces = [
            record["outcome"]["seconds"] / record["outcome"]["num_steps"]
            for record in store.finished(self.folder).values()
            if record["outcome"]["num_steps"] >= 100
        ]
        pace = statistics.median(paces) if paces else SECONDS_PER_STEP
        seconds = sum(SECONDS_TO_START + pace * length_of(run).num_steps for run in left)
        return seconds / 3600 / max(1, min(self.jobs, len(left)))


def show(study: Study, *, lengths: bool) -> None:
    """The plan on the terminal: a line a row, and with `lengths` what every run costs."""
    done = store.finished(study.folder)
    for row in study.rows(done):
        finished = sum(run.key in done for run in row.runs())
        words = (
            f"{row.group:<20} {row.run.name.removesuffix('/seed0'):<40} {finished} of {len(row.seeds)} seeds"
        )
        if lengths:
            length = length_of(row.run)
            words += f"  {length.num_steps:5d} steps, {length.epochs:5.1f} epochs, {length.dense_epochs:6.3f} dense epochs"
        print(words)
    left = [run for run in study.runs(done) if run.key not in done]
    later = "" if study.choose or any(row.group == "80 %" for row in study.rows(done)) else (
        "; rows of the four leading methods follow when those at 95 % are finished"
    )  # fmt: skip
    print(f"{len(left)} runs left, about {study.hours(left):.1f} h with {study.jobs} at a time{later}")


def main() -> None:
    """Parse, then list, train or collect."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.partition("\n\n")[2], formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="the rows, and how many seeds are finished")
    parser.add_argument(
        "--dry-run", action="store_true", help="the rows with their length and cost, and the hours left"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="rows whose group and name contain this, or one of several (commas); may be repeated",
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds only")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs side by side, a core each"
    )
    parser.add_argument(
        "--with", dest="extra", action="append", default=[], choices=EXTRA, help="optional rows"
    )
    parser.add_argument("--choose", action="store_true", help="the runs on validation images instead")
    parser.add_argument(
        "--collect",
        action="store_true",
        help=f"write {store.RESULT.name} from what is finished, train nothing",
    )
    parser.add_argument("--folder", type=Path, help="where runs put their results (default build/study)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer images, epochs and seeds; minutes; stored nowhere"
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON at the end")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs: expected at least 1, got {options.jobs}")
    if options.quick and options.collect:
        parser.error("--quick is stored nowhere: expected it without --collect")
    scratch = tempfile.TemporaryDirectory() if options.quick and not options.folder else nullcontext()
    with scratch as temporary:
        study = Study(
            folder=options.folder or Path(temporary or store.FOLDER),
            only=options.only,
            extra=options.extra,
            seeds=options.seeds,
            quick=options.quick,
            choose=options.choose,
            jobs=options.jobs,
        )
        sys.exit(_act(study, options, parser))


def _act(study: Study, options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    done = store.finished(study.folder)
    if not study.rows(done):
        parser.error(f"--only: expected words of a row (--list shows them), got {' '.join(study.only)!r}")
    if options.list or options.dry_run:
        show(study, lengths=options.dry_run)
        return 0
    failed: list[str] = []
    if not options.collect:
        say = lambda words: print(words, file=sys.stderr, flush=True)  # noqa: E731
        failed = Runner(
            plan=study.runs, folder=study.folder, jobs=study.jobs, hours=study.hours, say=say
        ).run()
    result = _result(study)
    if options.collect:
        collect.write(result)
    if options.json:
        print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=1))
    elif not options.choose:
        print(collect.text(result))
    return len(failed)


def _result(study: Study) -> dict[str, Any]:
    done = store.finished(study.folder)
    return collect.collected(
        plan.rows(done, extra=EXTRA, quick=study.quick), plan.choices(), done, quick=study.quick
    )


if __name__ == "__main__":
    main()
