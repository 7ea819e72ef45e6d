"""What the study consists of: groups of rows in the order in which they run; a row becomes one run a seed.

Equal training cost: every row of a sparsity may spend what `EPOCHS` of a static mask of that sparsity cost, over all workers and growth
phases. Which methods go on to the other sparsities is decided by the finished runs at 95 %: the four with the highest mean accuracy. The
claim about 98 % names its methods, which therefore run there in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from benchmarks.study.contenders import CONTENDERS
from benchmarks.study.runs import Run

EPOCHS = 10
"""Of a static mask, and of the dense reference."""
BUDGETS = {0.8: 3.542, 0.9: 1.722, 0.95: 0.848, 0.98: 0.323}
"""Dense epochs that a run may cost, by its sparsity: the cost of `EPOCHS` of a static mask."""
LONG = 4
"""Times that cost in the optional rows of the claim's methods."""
SEEDS = (0, 1, 2, 3, 4)
OPTIONAL_SEEDS = (0, 1, 2)
CHOICE_SEEDS, CHOICE_BUDGET = (100, 101), 1.25
CLAIM = {"first": ("c-gap", "p-gap", "em&s"), "over": ("rigl", "gradual")}
"""The claim: each of the first is better than each of the others, at 95 and at 98 %."""
NUM_LEADERS = 4
QUICK = {"images": 1280, "test_images": 500}
QUICK_BUDGET, QUICK_EPOCHS = 0.5, 3
SIEVE = {"sieve": 1, "sieve_at": 0.44, "sieve_most": 0.25}
"""Removal after 44 % of the epochs (70 of 160 in the paper), of a quarter of the examples at most."""
SIEVE_CLAIM = {"loss": 0.3, "removed": 0.2}
"""The claim: the sieve costs no more points than this while it removes at least this part of the examples, at equal cost."""

Results = Mapping[str, Mapping[str, Any]]
"""Finished runs by key."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a run but for its seed, and the group that it is compared within."""

    group: str
    run: Run
    seeds: tuple[int, ...] = SEEDS
    optional: bool = False  # beside what the study must have

    def runs(self) -> list[Run]:
        return [replace(self.run, seed=seed) for seed in self.seeds]


def run_of(method: str, overrides: Mapping[str, float | int | str] | None = None, **fields: Any) -> Run:
    """A run with the contender's settings, but for the overrides."""
    return Run(method=method, settings={**CONTENDERS[method].settings, **(overrides or {})}, **fields)


def contenders() -> list[str]:
    """The sparse methods, in the order of the table."""
    return [name for name in CONTENDERS if name != "dense"]


def rows(results: Results, *, extra: Iterable[str] = (), quick: bool = False) -> list[Row]:
    """All rows, as far as they can be named: those of the leading methods once the runs at 95 % are finished."""
    first = _first_rows()
    named = [*first, *_claim_rows(), *_sieve_rows(), *_pattern_rows()]
    if quick:
        named, first = [_quick(row) for row in named], [_quick(row) for row in first]
    leading = leaders(first, results)
    later = [row for name in leading for row in _leader_rows(name, extra)]
    later += _equal_epochs_rows() if "epochs" in extra else []
    later += _long_rows() if "long" in extra else []
    if quick:
        later = [_quick(row) for row in later]
    have = {(row.group, row.run.key) for row in named}
    return [*named, *(row for row in later if (row.group, row.run.key) not in have)]


def leaders(first: Sequence[Row], results: Results) -> list[str]:
    """The sparse methods with the highest mean accuracy at 95 %; [] until all of their runs are finished."""
    means = {}
    for row in first:
        if row.run.method == "dense":
            continue
        if any(run.key not in results for run in row.runs()):
            return []
        means[row.run.method] = fmean(results[run.key]["outcome"]["accuracy"] for run in row.runs())
    return sorted(means, key=lambda name: -means[name])[:NUM_LEADERS]


def choices() -> list[Row]:
    """The runs that settings were chosen by: other seeds, measured on training images that no run trains on."""
    how: dict[str, Any] = {"sparsity": 0.95, "budget": CHOICE_BUDGET, "test": "validation"}
    found = [
        run_of(name, {knob: value}, **how)
        for name, contender in CONTENDERS.items()
        for knob, values in contender.tried.items()
        for value in values
    ]
    return [Row(group="choice", run=run, seeds=CHOICE_SEEDS) for run in found]


def in_order(plan: Sequence[Row]) -> list[Run]:
    """The runs of the plan: group by group, within a group seed by seed, so that an interrupted study has whole seeds."""
    found: dict[str, Run] = {}
    for group in dict.fromkeys(row.group for row in plan):
        inside = [row for row in plan if row.group == group]
        for seed in dict.fromkeys(seed for row in inside for seed in row.seeds):
            for row in inside:
                if seed in row.seeds:
                    run = replace(row.run, seed=seed)
                    found.setdefault(run.key, run)
    return list(found.values())


def _first_rows() -> list[Row]:
    dense = run_of("dense", epochs=EPOCHS)
    sparse = [run_of(name, sparsity=0.95, budget=BUDGETS[0.95]) for name in contenders()]
    runs = [dense, run_of("dense", budget=BUDGETS[0.95]), *sparse]
    return [Row(group="95 %", run=run) for run in runs]


def _claim_rows() -> list[Row]:
    names = [name for part in CLAIM.values() for name in part]
    return [Row(group="98 %", run=run_of(name, sparsity=0.98, budget=BUDGETS[0.98])) for name in names]


def _sieve_rows() -> list[Row]:
    without = run_of("em&s", sparsity=0.95, budget=BUDGETS[0.95])
    return [
        Row(group="sieve", run=run)
        for run in (without, replace(without, settings={**without.settings, **SIEVE}))
    ]


def _pattern_rows() -> list[Row]:
    patterns = ("unstructured", "block:4x1", "taps:4", "gs:8,1")
    return [
        Row(group="patterns", run=run_of("em&s", sparsity=0.9, pattern=pattern, budget=BUDGETS[0.9]))
        for pattern in patterns
    ]


def _leader_rows(name: str, extra: Iterable[str]) -> list[Row]:
    found = [
        Row(group=f"{100 * sparsity:g} %", run=run_of(name, sparsity=sparsity, budget=BUDGETS[sparsity]))
        for sparsity in (0.98, 0.9, 0.8)
    ]
    if "full" in extra:
        run = run_of(name, sparsity=0.95, budget=BUDGETS[0.95], data="full")
        found.append(Row(group="full Fashion-MNIST", run=run, seeds=OPTIONAL_SEEDS, optional=True))
    if "second-domain" in extra:
        run = run_of(name, sparsity=0.95, budget=BUDGETS[0.95], data="packages")
        found.append(Row(group="package sections", run=run, seeds=OPTIONAL_SEEDS, optional=True))
    return found


def _equal_epochs_rows() -> list[Row]:
    runs = [run_of(name, sparsity=0.95, epochs=EPOCHS) for name in contenders()]
    return [Row(group="95 %, equal epochs", run=run, seeds=OPTIONAL_SEEDS, optional=True) for run in runs]


def _long_rows() -> list[Row]:
    names = [name for part in CLAIM.values() for name in part]
    runs = [run_of(name, sparsity=0.95, budget=LONG * BUDGETS[0.95]) for name in names]
    return [
        Row(group=f"95 %, {LONG} x the cost", run=run, seeds=OPTIONAL_SEEDS, optional=True) for run in runs
    ]


def _quick(row: Row) -> Row:
    """Fewer images, epochs and seeds; every method, sparsity and pattern stays."""
    run = replace(row.run, images=QUICK["images"], test_images=QUICK["test_images"])
    if run.epochs is not None:
        return replace(row, run=replace(run, epochs=QUICK_EPOCHS), seeds=(0,))
    return replace(row, run=replace(run, budget=QUICK_BUDGET), seeds=(0,))
