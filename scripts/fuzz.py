"""Give mutated packed files to the native and the NumPy reader: they must accept and reject the same files, and never crash.

    python scripts/fuzz.py --files 20000 --driver build/sanitize/fuzz_reader

The driver (native/tests/fuzz_reader.cpp) is built with Address- and UndefinedBehaviorSanitizer; it also plans every accepted
file and runs it once where it is small, and the outputs must be those of the NumPy reference. File number i of a seed is always
the same file. A file that breaks a rule is left in build/fuzz/, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_bases import bases
from fuzz_mutations import mutate

from gossamer.errors import FormatError, GossamerError, GraphError
from gossamer.formats import packed_file
from gossamer.runtime.reference import ReferenceExecutor

TOLERANCE = 1e-4  # of the largest output; the engines add in different orders
LARGEST_WEIGHT = 1e3  # beyond it a comparison of float32 sums says nothing
KEPT = Path("build/fuzz")
KINDS = {"2": "FormatError", "3": "GraphError"}


class Driver:
    """One running fuzz_reader; started anew after a crash."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process: subprocess.Popen[bytes] | None = None
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the driver)

    def send(self, raw: bytes) -> None:
        if self.process is None:
            options = {"ASAN_OPTIONS": "max_allocation_size_mb=1024", "UBSAN_OPTIONS": "print_stacktrace=1"}
            self.process = subprocess.Popen(
                [self.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.stderr,
                env={**os.environ, **options},
            )
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(len(raw).to_bytes(4, "little") + raw)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # answer() tells the crash

    def answer(self) -> str:
        """The driver's line; empty where it died, and then `report` says how."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode("utf-8", "replace").rstrip("\n")
        if not line:
            self.process.wait()
            self.process = None
        return line

    def report(self) -> str:
        """What the driver wrote before it died."""
        self.stderr.seek(0)
        return self.stderr.read().decode("utf-8", "replace")[-6000:]

    def close(self) -> str:
        """End the driver; the sanitizer's report where it found a leak at the end."""
        if self.process is None:
            return ""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.report() if self.process.wait() != 0 else ""


def sample(shape: tuple[int, ...], dtype: str) -> Any:
    """The driver's input: a fixed sequence in [-0.5, 0.5), or of the integers 0, 1, 2."""
    if dtype == "int64":
        return (np.arange(int(np.prod(shape)), dtype=np.int64) % 3).reshape(shape)
    index = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(2654435761)
    return ((index >> np.uint32(8)).astype(np.float32) / np.float32(16777216) - np.float32(0.5)).reshape(
        shape
    )


def compare_outputs(file: packed_file.PackedFile, line: str) -> str:
    """Empty, or how the native outputs differ from the reference's."""
    if any(
        np.abs(weight.parts["values"].astype(np.float32)).max(initial=0) > LARGEST_WEIGHT
        for weight in file.weights.values()
    ):
        return ""
    network = file.manifest.network
    smallest = {symbol: dim.min for symbol, dim in network.dims.items()}
    inputs = {
        item.name: sample(tuple(smallest.get(size, size) for size in item.shape), item.dtype)  # type: ignore[call-overload]
        for item in network.inputs
    }
    with np.errstate(all="ignore"):
        expected = ReferenceExecutor(network, file.weights).run(inputs)
    for output, text in zip(network.outputs, line.split()[2:], strict=True):
        want = expected[output.name]
        got = np.frombuffer(bytes.fromhex(text), dtype="<f4").reshape(want.shape)
        if not (np.isfinite(want) == np.isfinite(got)).all():
            return f"output {output.name!r}: other elements are finite"
        difference = np.abs(np.where(np.isfinite(want), want - got, 0)).max(initial=0)
        if difference > TOLERANCE * max(1.0, np.abs(want[np.isfinite(want)]).max(initial=0)):
            return f"output {output.name!r}: differs by {difference}"
    return ""


def judge(raw: bytes, driver: Driver) -> tuple[str, str]:
    """What happened (for the tally), and what is wrong with it (empty: nothing)."""
    driver.send(raw)
    file, mine = None, "accept"
    try:
        file = packed_file.read(raw)
    except (FormatError, GraphError) as error:
        mine = f"reject {type(error).__name__}: {error}"
    except (Exception, RecursionError) as error:
        driver.answer()
        return "crash", f"the NumPy reader raised {type(error).__name__}: {error}"
    line = driver.answer()
    if not line:
        return "crash", f"the native reader died (the NumPy reader: {mine}):\n{driver.report()}"
    words = line.split(" ", 3)
    if words[0] == "reject":
        if file is not None:
            return "accept", f"the NumPy reader accepts, the native one does not: {line}"
        if words[1] not in KINDS:
            return "reject", f"the native reader rejects with another kind than format or graph: {line}"
        return "reject", ""
    if file is None:
        return "reject", f"the native reader accepts, the NumPy one does not: {mine}"
    if words[1] == "ran":
        try:
            return "accept, ran", compare_outputs(file, line)
        except GossamerError as error:
            return "accept, ran", f"the NumPy reference refuses to run: {error}"
    if words[1] == "refused" and words[2] != "6":
        return "accept, refused", f"expected a refusal for want of memory alone (6), got: {line}"
    return "accept, " + " ".join(words[1:3] if words[1] == "refused" else words[1:2]), ""


def run(driver_path: Path, seed: int, indices: range) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Judge the files of some indices; the tally and the findings."""
    base_files = bases()
    driver = Driver(driver_path)
    tally: Counter[str] = Counter()
    findings: list[tuple[int, str]] = []
    for index in indices:
        raw = file_of(base_files, seed, index)
        outcome, wrong = judge(raw, driver)
        tally[outcome] += 1
        if wrong:
            KEPT.mkdir(parents=True, exist_ok=True)
            (KEPT / f"{seed}-{index}.gsm").write_bytes(raw)
            findings.append((index, wrong))
            if len(findings) >= 20:
                break
    at_end = driver.close()
    if at_end:
        findings.append((-1, f"the driver ended with an error:\n{at_end}"))
    return tally, findings


def file_of(base_files: list[bytes], seed: int, index: int) -> bytes:
    """File number `index`: first every base file as it is, then mutations."""
    if index < len(base_files):
        return base_files[index]
    rng = random.Random(f"{seed}:{index}")
    return mutate(rng.choice(base_files), rng)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--driver", type=Path, default=Path("build/sanitize/fuzz_reader"))
    parser.add_argument(
        "--files", "--count", type=int, default=20_000, help="number of files (default 20000)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="1000 files")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--only", type=int, help="one file, by its number")
    options = parser.parse_args()
    if not options.driver.is_file():
        parser.error(
            f"--driver: expected the executable fuzz_reader, got {options.driver}; `make sanitize` builds it"
        )
    files = 1_000 if options.quick else options.files
    started = time.perf_counter()
    if options.only is not None:
        shares = [range(options.only, options.only + 1)]
    else:
        shares = [range(job, files, options.jobs) for job in range(options.jobs)]
    tally: Counter[str] = Counter()
    findings: list[tuple[int, str]] = []
    with ProcessPoolExecutor(len(shares)) as pool:
        for counts, found in pool.map(
            run, *zip(*[(options.driver, options.seed, share) for share in shares], strict=True)
        ):
            tally += counts
            findings += found
    print(
        f"{sum(tally.values())} files, seed {options.seed}, {time.perf_counter() - started:.0f} s: ", end=""
    )
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.items())))
    for index, wrong in findings:
        print(f"\nfile {index} ({KEPT / f'{options.seed}-{index}.gsm'}): {wrong}", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
