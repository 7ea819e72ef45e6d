"""From finished runs to the stored result: rows with intervals, verdicts, and every run with its provenance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from benchmarks.study import plan, store
from benchmarks.study.contenders import CONTENDERS
from benchmarks.study.plan import Row
from benchmarks.study.statistics import Estimate, estimate, paired, verdict
from gossamer.bench import machine
from gossamer.files import write_atomic

COMMAND = "python benchmarks/methods.py"


def collected(
    rows: Sequence[Row], choices: Sequence[Row], done: store.Finished, *, quick: bool
) -> dict[str, Any]:
    """The whole result as plain data; `done` are the finished runs by key. Optional rows stand in it once one of their runs is finished."""
    rows = [row for row in rows if not row.optional or any(run.key in done for run in row.runs())]
    keys = {run.key for row in (*rows, *choices) for run in row.runs()}
    return {
        "command": COMMAND,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": store.commit_of_code(),
        "machine": machine.describe(),
        "quick": quick,
        "static_epochs": None if quick else plan.EPOCHS,
        "rows": [line(row, done) for row in rows],
        "verdicts": verdicts(rows, done),
        "sieve": sieve(rows, done),
        "choices": [] if quick else [line(row, done) for row in choices],
        "runs": [record for key, record in sorted(done.items()) if key in keys],
    }


def line(row: Row, done: store.Finished) -> dict[str, Any]:
    """One row: means over the seeds that are finished, with the interval of the accuracy."""
    found = {run.seed: done[run.key]["outcome"] for run in row.runs() if run.key in done}
    run = row.run
    entry: dict[str, Any] = {
        "group": row.group,
        "method": run.method,
        "label": CONTENDERS[run.method].label,
        "sparsity": run.sparsity,
        "pattern": run.pattern,
        "settings": {**CONTENDERS[run.method].settings, **run.settings},
        "lr": run.loop.lr,
        "data": run.data,
        "equal_cost": run.budget is not None,
        "seeds": sorted(found),
        "wanted_seeds": list(row.seeds),
        "full": len(found) == len(row.seeds),
    }
    if found:
        outcomes = list(found.values())
        accuracy = estimate([outcome["accuracy"] for outcome in outcomes])
        entry |= {
            "accuracy": accuracy.mean,
            "interval": accuracy.half,
            "accuracies": {str(seed): outcome["accuracy"] for seed, outcome in sorted(found.items())},
            **{
                name: fmean(outcome[name] for outcome in outcomes)
                for name in (
                    "epochs",
                    "examples",
                    "dense_epochs",
                    "peak_density",
                    "final_sparsity",
                    "cpu_seconds",
                )
            },
        }
    return entry


def verdicts(rows: Sequence[Row], done: store.Finished) -> list[dict[str, Any]]:
    """The claim, pair by pair: differences over equal seeds, at equal cost, with their intervals."""
    found = []
    for group, sparsity in (("95 %", 0.95), ("98 %", 0.98)):
        of = {row.run.method: row for row in rows if row.group == group and row.run.sparsity == sparsity}
        for first in plan.CLAIM["first"]:
            for over in plan.CLAIM["over"]:
                both = first in of and over in of
                difference = (
                    paired(_accuracies(of[first], done), _accuracies(of[over], done)) if both else None
                )
                seeds = len(of[first].seeds) if both else len(plan.SEEDS)
                found.append(
                    {
                        "sparsity": sparsity,
                        "first": first,
                        "over": over,
                        **_numbers(difference),
                        "verdict": verdict(difference, seeds),
                    }
                )
    return found


def sieve(rows: Sequence[Row], done: store.Finished) -> dict[str, Any] | None:
    """EM&S with the sieve less EM&S without it, at equal cost, and what that says of the claim; None where the two are not in the plan."""
    pair = [row for row in rows if row.group == "sieve"]
    if len(pair) != 2:
        return None
    without, within = sorted(pair, key=lambda row: len(row.run.settings))
    difference = paired(_accuracies(within, done), _accuracies(without, done))
    removed = [done[run.key]["outcome"].get("removed", 0.0) for run in within.runs() if run.key in done]
    said = verdict(difference, len(within.seeds), above=-plan.SIEVE_CLAIM["loss"])
    fewest = min(removed, default=None)
    if fewest is not None and fewest < plan.SIEVE_CLAIM["removed"]:
        said = "contradicted"
    return {
        **_numbers(difference),
        "removed": fewest,
        "wanted_seeds": len(within.seeds),
        "claim": plan.SIEVE_CLAIM,
        "verdict": said,
    }


def _accuracies(row: Row, done: store.Finished) -> dict[int, float]:
    return {run.seed: done[run.key]["outcome"]["accuracy"] for run in row.runs() if run.key in done}


def _numbers(difference: Estimate | None) -> dict[str, Any]:
    if difference is None:
        return {"difference": None, "interval": None, "seeds": 0}
    return {"difference": difference.mean, "interval": difference.half, "seeds": difference.seeds}


def write(result: dict[str, Any]) -> None:
    """benchmarks/results/methods.json, whole or not at all."""
    write_atomic(store.RESULT, (json.dumps(result, indent=1) + "\n").encode())


def text(result: dict[str, Any]) -> str:
    """The rows for a terminal."""
    lines = []
    for row in result["rows"]:
        what = f"{row['group']:<20} {row['label']:<24} {row['pattern']:<12}"
        if not row["seeds"]:
            lines.append(f"{what} not run yet")
            continue
        half = "" if row["interval"] is None else f" ± {row['interval']:.2f}"
        lines.append(
            f"{what} {row['accuracy']:.2f}{half} %  {row['epochs']:5.1f} epochs, {row['dense_epochs']:.3f} dense epochs, "
            f"seeds {len(row['seeds'])} of {len(row['wanted_seeds'])}"
        )
    return "\n".join(lines)
