"""One call that measures a packed network beside the engines a user would pick instead."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gossamer import runtime
from gossamer.bench import machine, memory
from gossamer.bench.engines import ENGINES, Artifact, Run
from gossamer.bench.measure import Timing, interleave, pinned
from gossamer.bench.result import BenchResult, EngineResult, noise_warnings
from gossamer.bench.subject import DenseNetwork, Subject, random_inputs
from gossamer.errors import GossamerError, RuntimeFailure
from gossamer.runtime.threads import check_threads

DEFAULT_ENGINES = ("torch", "onnxruntime", "openvino", "openvino_int8", "gossamer")
ROUNDS = 30
QUICK_ROUNDS = 5


def run(
    packed: str | Path,
    *,
    dense: str | Path | None = None,
    engines: Sequence[str] = DEFAULT_ENGINES,
    batch: int = 1,
    threads: int = 1,
    rounds: int | None = None,
    quick: bool = False,
    seed: int = 0,
    with_memory: bool = True,
    calibration: np.ndarray | None = None,
    labelled: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Callable[[str], None] | None = None,
) -> BenchResult:
    """Measure latency, memory and size of `packed` and of its dense twin in every engine, interleaved and
    pinned.

    packed: packed file. dense: packed file of the dense twin (default: `packed` with zeros stored). engines:
    names of ENGINES. rounds: bursts of each engine (default 30; 5 with quick). calibration: float32 inputs
    [n, ...] for int8. labelled: (inputs float32 [n, ...], labels [n]) to measure every engine's accuracy.
    progress: called with one line of text a phase. An engine that cannot run is reported with the reason, it
    does not end the benchmark.

    Raises RuntimeFailure for unknown engines, thread counts above this process's CPUs, batches outside the
    file's range, a dense twin with other inputs, and images that do not fit.
    """
    names = _checked(engines, threads)
    rounds = rounds if rounds is not None else (QUICK_ROUNDS if quick else ROUNDS)
    if rounds < 1:
        raise RuntimeFailure(f"rounds: expected at least 1, got {rounds}")
    subject = Subject(
        packed=Path(packed), dense=None if dense is None else Path(dense), calibration=calibration
    )
    tell = progress or (lambda line: None)
    twin = DenseNetwork.of(subject.packed)
    batch = twin.checked_batch(batch)
    shapes = twin.input_shapes(batch)
    _check_data(twin, subject, None if labelled is None else labelled[0])
    inputs = random_inputs(shapes, seed)
    with tempfile.TemporaryDirectory() as folder, pinned(threads):
        artifacts: dict[str, Artifact] = {}
        runs: dict[str, Run] = {}
        errors: dict[str, str] = {}
        for name in names:
            tell(f"loading {name}")
            try:
                artifacts[name] = ENGINES[name].build(subject, Path(folder), batch=batch)
                runs[name] = ENGINES[name].open(artifacts[name].path, batch=batch, threads=threads)
                runs[name](inputs)
            except (
                Exception
            ) as error:  # other engines raise types of their own; each reason goes into the table
                if ENGINES[name].runs_packed:
                    raise
                errors[name] = (
                    f"{error}" if isinstance(error, GossamerError) else f"{type(error).__name__}: {error}"
                )
                runs.pop(name, None)
        tell(f"timing {', '.join(runs)}: {rounds} rounds")
        timings = interleave({name: _call(run, inputs) for name, run in runs.items()}, rounds=rounds)
        accuracies: dict[str, float] = {}
        if labelled is not None:
            for name, engine_run in runs.items():
                tell(f"accuracy of {name}")
                accuracies[name] = accuracy(engine_run, *labelled, batch=batch)
        memories: dict[str, memory.Memory] = {}
        if with_memory and memory.available():
            for name in runs:
                tell(f"memory of {name}")
                memories[name] = memory.measure(
                    name, artifacts[name].path, batch=batch, threads=threads, shapes=shapes
                )
        layers = _profiled_layers(subject.packed, inputs, batch, threads) if "gossamer" in names else []
    rows = [_row(name, artifacts, timings, memories, accuracies, errors) for name in names]
    return BenchResult(
        network=twin.network.name,
        batch=batch,
        threads=threads,
        rounds=rounds,
        engines=rows,
        layers=layers,
        machine=machine.describe(),
        test_examples=0 if labelled is None else len(labelled[1]),
        quick=quick,
        warnings=noise_warnings(timings),
    )


def accuracy(run_engine: Run, inputs: np.ndarray, labels: np.ndarray, *, batch: int) -> float:
    """Fraction of examples whose largest first output is at the label; the last incomplete batch is filled
    up and cut."""
    right = 0
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        filled = np.resize(part, (batch, *part.shape[1:])).astype(np.float32)
        answer = run_engine([filled])[0].argmax(axis=-1)[: len(part)]
        right += int((answer == labels[start : start + batch]).sum())
    return right / len(inputs)


def _checked(engines: Sequence[str], threads: int) -> list[str]:
    names = list(dict.fromkeys(engine.replace("-", "_") for engine in engines))
    unknown = [name for name in names if name not in ENGINES]
    if unknown or not names:
        raise RuntimeFailure(
            f"expected engines out of {', '.join(ENGINES)}, got {', '.join(unknown) or 'none'}"
        )
    check_threads(threads)
    return names


def _check_data(twin: DenseNetwork, subject: Subject, images: np.ndarray | None) -> None:
    """The dense twin takes what the packed network takes, and so do the images, if there are any."""
    expected = [value.shape[1:] for value in twin.network.inputs]
    if subject.dense is not None:
        found = [value.shape[1:] for value in DenseNetwork.of(subject.dense).network.inputs]
        if found != expected:
            raise RuntimeFailure(
                f"{subject.dense}: expected a dense twin with inputs of shape {expected}, got {found}; "
                "is it another network?"
            )
    for name, data in (("labelled", images), ("calibration", subject.calibration)):
        if data is not None and [data.shape[1:]] != expected:
            raise RuntimeFailure(
                f"{name} inputs: expected examples of shape {', '.join(map(str, expected))}, got {data.shape[1:]}; "
                "choose the task that this network was trained for"
            )


def _call(run_engine: Run, inputs: list[np.ndarray]) -> Callable[[], object]:
    return lambda: run_engine(inputs)


def _profiled_layers(
    packed: Path, inputs: list[np.ndarray], batch: int, threads: int
) -> list[dict[str, object]]:
    """Rows of the plan; seconds are the minimum of ten profiled runs."""
    session = runtime.load(packed, threads=threads, max_batch=batch)
    return session.profile(
        dict(zip((value.name for value in session.inputs), inputs, strict=True)), repeats=10
    )


def _row(
    name: str,
    artifacts: dict[str, Artifact],
    timings: dict[str, Timing],
    memories: dict[str, memory.Memory],
    accuracies: dict[str, float],
    errors: dict[str, str],
) -> EngineResult:
    if name in errors:
        return EngineResult(engine=name, error=errors[name])
    row = EngineResult(engine=name, bytes_on_disk=artifacts[name].bytes_on_disk, note=artifacts[name].note)
    return replace(row, timing=timings[name], memory=memories.get(name), accuracy=accuracies.get(name))
