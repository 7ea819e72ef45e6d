"""The command line that the scripts in benchmarks/ share: options, one JSON object on standard output, stored results, a page of plots."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gossamer.bench.engines import ENGINES
from gossamer.bench.machine import describe
from gossamer.bench.result import text_table
from gossamer.bench.workload import SUMMARY_HEADER, Sweep, Workload, measure_all, summary
from gossamer.errors import GossamerError
from gossamer.files import write_atomic
from gossamer.report.page import Block, Figure, Page, Section, Table, Text


def main(
    *,
    script: str,
    doc: str,
    workloads: Mapping[str, Workload],
    results: Path,
    default: Sequence[str] = (),
    pattern: str = "unstructured",
    arguments: Sequence[str] | None = None,
) -> None:
    """Parse, measure, print. default: names of the workloads that run unless --network says otherwise (none: all)."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--network", default=",".join(default or workloads), help=f"of {', '.join(workloads)}"
    )
    parser.add_argument("--sparsity", default="0.9", help="0 to 1, several separated by commas")
    parser.add_argument(
        "--pattern",
        default=pattern,
        help="unstructured, block:4x1, gs:8,1, ..., separated by commas",
    )
    parser.add_argument("--batch", default="1", help="separated by commas")
    parser.add_argument("--threads", default="1", help="separated by commas")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16"), help="stored values")
    parser.add_argument(
        "--against",
        default="onnxruntime,openvino,openvino_int8",
        help=f"of {', '.join(ENGINES)}",
    )
    parser.add_argument(
        "--dense-isa",
        default="",
        help="limit the dense engines, as ONEDNN_MAX_CPU_ISA does: AVX512_CORE leaves float32 as it is and takes int8 units "
        "(VNNI, AMX) away",
    )
    parser.add_argument("--rounds", type=int, help="bursts of each engine; default 30, quick 5")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, nothing else; never stored")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--store", action="store_true", help=f"write the records into {results.name}")
    parser.add_argument("--plot", type=Path, help="write a page with plots")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.network.split(",") if name not in workloads]
    if unknown:
        parser.error(f"--network: expected {', '.join(workloads)}, got {', '.join(unknown)}")
    if options.dense_isa:
        os.environ["ONEDNN_MAX_CPU_ISA"] = options.dense_isa  # read when the first primitive is made
    engines = tuple(name.strip().replace("-", "_") for name in options.against.split(","))
    sweep = Sweep(
        sparsities=tuple(float(text) for text in options.sparsity.split(",")),
        patterns=tuple(split_patterns(options.pattern)),
        batches=tuple(int(text) for text in options.batch.split(",")),
        threads=tuple(int(text) for text in options.threads.split(",")),
        dtype=options.dtype,
        engines=(*(name for name in engines if name != "gossamer"), "gossamer"),
        rounds=options.rounds,
        quick=options.quick,
    )
    try:
        records = [
            {**record, "dense_isa": options.dense_isa}
            for record in measure_all(
                [workloads[name] for name in options.network.split(",")],
                sweep,
                lambda line: print(line, file=sys.stderr, flush=True),
            )
        ]
    except GossamerError as error:
        raise SystemExit(f"{script}: {error}") from None
    if options.json:
        print(json.dumps(as_object(records)))
    else:
        print(text_table(SUMMARY_HEADER, summary(records), left=(0, 1)))
        for warning in dict.fromkeys(line for record in records for line in record["warnings"]):
            print(f"warning: {warning}")
    if options.plot is not None:
        page(script, records).write(options.plot)
    if options.store and not options.quick:
        store(results, script, records)


def split_patterns(text: str) -> list[str]:
    """Patterns of a list; a comma before a plain number belongs to its pattern.

    >>> split_patterns("unstructured, gs:8,1,2:4,block:4x1")
    ['unstructured', 'gs:8,1', '2:4', 'block:4x1']
    """
    return [part.strip() for part in re.split(r",(?=\s*[a-z]|\s*\d+:)", text)]


def as_object(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One object: the first record, and all of them under `records` where there are several.

    >>> as_object([{"ms": {}}])
    {'ms': {}, 'records': []}
    """
    return {**records[0], "records": list(records) if len(records) > 1 else []}


def store(results: Path, script: str, records: Sequence[dict[str, Any]]) -> None:
    """Put the records into a result file; those it holds of other configurations stay."""
    keep: list[dict[str, Any]] = []
    if results.is_file():
        fresh = {_key(record) for record in records}
        keep = [record for record in json.loads(results.read_text())["records"] if _key(record) not in fresh]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=results.parent if results.parent.is_dir() else None,
        capture_output=True,
        text=True,
        check=False,
    )
    about = {
        "command": f"python benchmarks/{script}.py",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": describe(),
        "records": [*keep, *records],
    }
    results.parent.mkdir(exist_ok=True)
    write_atomic(results, (json.dumps(about, indent=1) + "\n").encode())


def page(script: str, records: Sequence[dict[str, Any]]) -> Page:
    """The records as bars and tables: milliseconds of every engine, then the layers of each packed network."""
    from gossamer.report import plots

    sections = []
    for record in records:
        what = " ".join(str(record[key]) for key in ("network", "pattern", "sparsity"))
        title = f"{what}, batch {record['batch']}, {record['threads']} thread(s)"
        svg = plots.bars(record["ms"], unit="ms", marked=("gossamer",), digits=3)
        timed = {row["name"]: row["share"] for row in record["layers"]}
        blocks: list[Block] = [Figure(svg=svg, caption="Milliseconds of one inference, minima.")]
        if timed:
            shares = plots.columns(timed, y_label="share of the time, %", percent=True)
            blocks.append(Figure(svg=shares, caption="Time by layer."))
        header = ["layer", "kernel", "µs", "GFLOP/s", "of roof", "why"]
        rows = [
            [
                row["name"],
                row["kernel"],
                f"{1e6 * row['seconds']:.1f}",
                "–" if row["gflops"] is None else f"{row['gflops']:.1f}",
                "–" if row["roof_share"] is None else f"{100 * row['roof_share']:.0f} %",
                row["reason"],
            ]
            for row in record["layers"]
        ]
        blocks.append(Table(header=header, rows=rows, words=(5,), names=(0, 1), many=True))
        blocks += [Text(text=warning, note=True) for warning in record["warnings"]]
        sections.append(Section(title=title, blocks=tuple(blocks)))
    table = Table(header=SUMMARY_HEADER, rows=summary(records), names=(0, 1))
    return Page(
        title=f"Benchmark {script}",
        lead="Engines in turns on one machine; masks uniform and random, stem and head dense; ratios of minima.",
        sections=(Section(title="Ratios", blocks=(table,)), *sections),
    )


def _key(record: dict[str, Any]) -> str:
    return json.dumps(
        [
            record.get(key, "")
            for key in (
                "network",
                "pattern",
                "sparsity",
                "dtype",
                "batch",
                "threads",
                "dense_isa",
                "optimizer",
                "method",
            )
        ]
    )
