"""Resident memory of an engine in a process of its own: `python -m gossamer.bench.memory ENGINE PATH BATCH
THREADS PORTS`.

A process that serves the network does three things: it imports the engine, opens the artifact, answers. What
it then holds resident is what a server pays. `own` subtracts a bare Python with NumPy, measured the same way.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gossamer.bench.engines import ENGINES
from gossamer.bench.subject import Port, random_inputs
from gossamer.errors import RuntimeFailure
from gossamer.resident import resident

BASELINE = "python-numpy"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes. resident: after five inferences. peak: the most since the start. own: resident less a bare
    Python with NumPy."""

    resident: int
    peak: int
    own: int


def measure(engine: str, path: Path, *, batch: int, threads: int, ports: Sequence[Port]) -> Memory:
    """Start a fresh process for the engine, and one for the baseline."""
    arguments = [str(path), str(batch), str(threads), json.dumps([asdict(port) for port in ports])]
    measured, bare = _spawn(engine, *arguments), _spawn(BASELINE, *arguments)
    return Memory(resident=measured["now"], peak=measured["peak"], own=measured["now"] - bare["now"])


def _spawn(*arguments: str) -> dict[str, int]:
    command = [sys.executable, "-m", "gossamer.bench.memory", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeFailure(f"measuring the memory of {arguments[0]!r} failed: {done.stderr.strip()[-500:]}")
    values: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return values


def _main(engine: str, path: str, batch: str, threads: str, ports: str) -> None:
    inputs = random_inputs(
        [Port(shape=tuple(port["shape"]), high=port["high"]) for port in json.loads(ports)], seed=0
    )
    if engine != BASELINE:
        run = ENGINES[engine].open(Path(path), batch=int(batch), threads=int(threads))
        for _ in range(5):
            run(inputs)
    print(json.dumps(asdict(resident())))


if __name__ == "__main__":
    _main(*sys.argv[1:])
