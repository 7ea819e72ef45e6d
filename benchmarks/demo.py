"""The main job, end to end: train a dense ResNet-20 and a 90 % sparse twin on real images in equal steps,
pack both, measure both.

It types the commands that a user would type and shows them. It leaves `result.json`, `report.html` and
everything in between in the output folder (default build/demo).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gossamer.bench.result import kib, mib, text_table
from gossamer.files import write_atomic

DENSE_RECIPE = "fashion-mnist-resnet20-dense"
SPARSE_RECIPE = "fashion-mnist-resnet20-gradual"
ENGINES = "torch,onnxruntime,openvino,openvino_int8,gossamer"


def gossamer(*arguments: str | Path) -> dict[str, Any]:
    """Run one gossamer command, progress on this terminal; what it answers as JSON."""
    words = [str(argument) for argument in arguments]
    _show(words)
    done = subprocess.run(_command(words), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def side_by_side(commands: Mapping[str, Sequence[str | Path]]) -> dict[str, dict[str, Any]]:
    """Run gossamer commands at the same time, each on an equal share of this process's CPUs; progress lines bear their names.

    Small networks train nearly twice as fast on one core each as one after the other on two.
    """
    share = str(max(1, len(os.sched_getaffinity(0)) // len(commands)))
    environment = {**os.environ, "OMP_NUM_THREADS": share}
    width = max(map(len, commands))
    with ThreadPoolExecutor(len(commands)) as pool:
        running = {}
        for name, arguments in commands.items():
            words = [str(argument) for argument in arguments]
            _show(words)
            process = subprocess.Popen(
                _command(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
            running[name] = process, pool.submit(_relay, process.stderr, f"{name:{width}} | ")
        answers = {name: process.stdout.read() for name, (process, _) in running.items() if process.stdout}
    for process, _ in running.values():
        if process.wait() != 0:
            raise SystemExit(process.returncode)
    return {name: json.loads(answer) for name, answer in answers.items()}


def _show(words: list[str]) -> None:
    print(f"\n$ gossamer {shlex.join(words)}", file=sys.stderr, flush=True)


def _command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "gossamer.cli", *words, "--json"]


def _relay(lines: Iterable[str], name: str) -> None:
    for line in lines:
        print(name + line, end="", file=sys.stderr, flush=True)


def demo(out: Path, *, seed: int, quick: bool, all_test_images: bool, fresh: bool) -> dict[str, Any]:
    """All steps; returns what stands in result.json."""
    begun = time.monotonic()
    flags = [*(["--quick"] if quick else []), *(["--fresh"] if fresh else [])]
    runs = side_by_side(
        {
            "dense": ["train", DENSE_RECIPE, f"seed={seed}", "--out", out / "dense", *flags],
            "sparse": ["train", SPARSE_RECIPE, f"seed={seed}", "--out", out / "sparse", *flags],
        }
    )
    if runs["dense"]["steps"] != runs["sparse"]["steps"]:
        raise SystemExit(f"the twins must train equally long, got {runs}")
    dense, sparse, bench = out / "dense.safetensors", out / "sparse.safetensors", out / "bench.json"
    gossamer("pack", out / "dense", "-o", dense, "--dtype", "float32")
    packed = gossamer("pack", out / "sparse", "-o", sparse)
    task = ["--task", "fashion-mnist", "--data", "full" if all_test_images else "embedded"]
    measured = gossamer(
        "bench",
        sparse,
        "--dense",
        dense,
        "--against",
        ENGINES,
        *task,
        "-o",
        bench,
        *(["--quick"] if quick else []),
    )
    gossamer("report", out / "dense", out / "sparse", bench, "-o", out / "report.html")
    rows = {row["engine"]: row for row in measured["engines"]}
    result = {
        "sparsity": packed["sparsity"],
        "num_weights": runs["sparse"]["num_weights"],
        "num_kept": runs["sparse"]["num_kept"],
        "accuracy_dense": rows["torch"]["accuracy"],
        "accuracy_sparse": rows["gossamer"]["accuracy"],
        "test_images": measured["test_examples"],
        "accuracy_before_packing": {name: run["test_accuracy"] for name, run in runs.items()},
        "bytes_dense_fp32": dense.stat().st_size,
        "bytes_packed": sparse.stat().st_size,
        "latency_ms": {name: row["timing"]["p50"] for name, row in rows.items() if row["timing"]},
        "latency_p95_ms": {name: row["timing"]["p95"] for name, row in rows.items() if row["timing"]},
        "latency_min_ms": {name: row["timing"]["minimum"] for name, row in rows.items() if row["timing"]},
        "memory_bytes": {name: row["memory"]["resident"] for name, row in rows.items() if row["memory"]},
        "accuracy": {name: row["accuracy"] for name, row in rows.items()},
        "steps": runs["sparse"]["steps"],
        "seed": seed,
        "quick": quick,
        "seconds": round(time.monotonic() - begun, 1),
        "machine": measured["machine"],
    }
    write_atomic(out / "result.json", (json.dumps(result, indent=1) + "\n").encode())
    return {**result, "engines": rows, "ratios": measured["ratios"]}


def table(result: dict[str, Any]) -> str:
    """What the demo prints at its end."""
    header = ["engine", "accuracy", "weights kept", "on disk", "memory", "p50", "p95", "vs onnxruntime"]
    rows = []
    for name, row in result["engines"].items():
        timing, memory, ratio = row["timing"], row["memory"], result["ratios"][name]
        kept = result["num_kept"] if name == "gossamer" else result["num_weights"]
        rows.append(
            [
                f"{name}, {'packed' if name == 'gossamer' else 'dense'}",
                "–" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f} %",
                f"{kept:,}",
                kib(row["bytes_on_disk"]),
                "–" if memory is None else mib(memory["resident"]),
                *(["–"] * 2 if timing is None else [f"{timing['p50']:.3f} ms", f"{timing['p95']:.3f} ms"]),
                "–" if ratio is None else f"{ratio:.2f}x",
            ]
        )
    smaller = result["bytes_dense_fp32"] / result["bytes_packed"]
    points = 100 * (result["accuracy_sparse"] - result["accuracy_dense"])
    return "\n".join(
        [
            text_table(header, rows),
            "",
            f"sparsity {100 * result['sparsity']:.2f} %: the packed file is {smaller:.1f}x smaller than dense float32, "
            f"accuracy {points:+.2f} points against the dense twin on {result['test_images']:,} test images",
            "single thread, batch 1, engines in turns on one core"
            + ("; quick run, not to be quoted" if result["quick"] else ""),
        ]
    )


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("build/demo"), help="folder of everything that is written"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer images, epochs and repeats; never quoted")
    parser.add_argument(
        "--all-test-images", action="store_true", help="test on all 10,000 (gossamer data get fashion-mnist)"
    )
    parser.add_argument("--keep", action="store_true", help="go on with runs that are in the folder already")
    options = parser.parse_args()
    result = demo(
        options.out,
        seed=options.seed,
        quick=options.quick,
        all_test_images=options.all_test_images,
        fresh=not options.keep,
    )
    print(f"\n{table(result)}\n")
    print(f"{result['seconds']:.0f} s; {options.out / 'result.json'}, {options.out / 'report.html'}")


if __name__ == "__main__":
    main()
