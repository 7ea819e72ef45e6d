"""Packed networks measured beside the engines a user would pick instead: several sparsities in one interleaved run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from gossamer import runtime
from gossamer.bench import machine, memory, roofline
from gossamer.bench.engines import ENGINES, Artifact, Engine, Run
from gossamer.bench.engines.gossamer import Gossamer
from gossamer.bench.measure import Timing, Usage, flushed, interleave, pinned
from gossamer.bench.noise import Noise
from gossamer.bench.result import BenchResult, EngineResult
from gossamer.bench.subject import DenseNetwork, Port, Subject, random_inputs
from gossamer.errors import GossamerError, RuntimeFailure
from gossamer.resident import is_known
from gossamer.runtime.threads import check_threads

DEFAULT_ENGINES = ("torch", "onnxruntime", "openvino", "openvino_int8", "gossamer")
ROUNDS = 30
QUICK_ROUNDS = 5
FLUSHED_ROUNDS = 10
QUICK_FLUSHED_ROUNDS = 3

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One packed network of a sweep. sparsity, pattern: what it was pruned to; None where a file is what it is."""

    packed: Path
    sparsity: float | None = None
    pattern: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure. rounds: bursts of each engine (None: 30; 5 with quick). with_memory: fresh processes for resident memory.
    with_cold: also single calls after the caches were rewritten. tune, pin: of our own engine."""

    batch: int = 1
    threads: int = 1
    rounds: int | None = None
    quick: bool = False
    seed: int = 0
    with_memory: bool = True
    with_cold: bool = True
    tune: bool = False
    pin: bool = False

    @property
    def bursts(self) -> int:
        """Rounds that are run."""
        rounds = self.rounds if self.rounds is not None else (QUICK_ROUNDS if self.quick else ROUNDS)
        if rounds < 1:
            raise RuntimeFailure(f"rounds: expected at least 1, got {rounds}")
        return rounds


@dataclass
class _Opened:
    """An engine with one network: what it ships with, how to call it, what was found."""

    engine: Engine
    variant: int | None  # which packed network; None: the dense twin
    artifact: Artifact | None = None
    run: Run | None = None
    row: EngineResult | None = None


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
    with_cold: bool = True,
    calibration: np.ndarray | None = None,
    labelled: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure latency, memory and size of `packed` and of its dense twin in every engine, interleaved and
    pinned.

    packed: packed file. dense: packed file of the dense twin (default: `packed` with zeros stored). engines:
    names of ENGINES. calibration: float32 inputs [n, ...] for int8. labelled: (inputs float32 [n, ...], labels [n]) to measure every
    engine's accuracy. progress: called with one line of text a phase. An engine that cannot run is reported with the reason, it
    does not end the benchmark. The other arguments are those of Settings.

    Raises RuntimeFailure for unknown engines, thread counts above this process's CPUs, batches outside the
    file's range, a dense twin with other inputs, and images that do not fit.
    """
    settings = Settings(
        batch=batch,
        threads=threads,
        rounds=rounds,
        quick=quick,
        seed=seed,
        with_memory=with_memory,
        with_cold=with_cold,
    )
    (result,) = compare(
        [Variant(packed=Path(packed))],
        dense=None if dense is None else Path(dense),
        engines=engines,
        settings=settings,
        calibration=calibration,
        labelled=labelled,
        progress=progress,
    )
    return result


def compare(
    variants: Sequence[Variant],
    *,
    settings: Settings,
    dense: Path | None = None,
    engines: Sequence[str] = DEFAULT_ENGINES,
    calibration: np.ndarray | None = None,
    labelled: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> list[BenchResult]:
    """One result a variant, as `run` gives; all variants and the dense engines take turns in one interleaved run.

    The variants are packed files of one network; the dense twin, where none is given, is the first of them with its zeros stored.
    """
    names = _checked(engines, settings.threads)
    rounds, tell = settings.bursts, progress or (lambda line: None)
    subjects = [Subject(packed=variant.packed, dense=dense, calibration=calibration) for variant in variants]
    twin = DenseNetwork.of(subjects[0].packed)
    settings = replace(settings, batch=twin.checked_batch(settings.batch))
    ports = twin.ports(settings.batch)
    _check_data(twin, subjects[0], None if labelled is None else labelled[0])
    inputs = random_inputs(ports, settings.seed)
    known: dict[str, Engine] = {**ENGINES, "gossamer": Gossamer(tune=settings.tune, pin=settings.pin)}
    opened = {
        (name, index): _Opened(engine=known[name], variant=index)
        for name in names
        for index in (range(len(variants)) if ENGINES[name].runs_packed else (None,))
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as measuring:
        for item in opened.values():  # what would be shipped: on all CPUs, nothing is measured yet
            tell(f"building for {item.engine.name}")
            _attempt(
                item,
                partial(_build, subject=subjects[item.variant or 0], folder=Path(folder), settings=settings),
            )
        measuring.enter_context(pinned(settings.threads))
        for item in opened.values():
            if item.artifact is not None:
                tell(f"loading {item.engine.name}")
                _attempt(item, partial(_open, inputs=inputs, settings=settings))
        usage = Usage()
        calls = {key: _call(item.run, inputs) for key, item in opened.items() if item.run is not None}
        tell(f"timing {', '.join(dict.fromkeys(name for name, _ in calls))}: {rounds} rounds")
        by_text = {str(key): call for key, call in calls.items()}
        timings = interleave(by_text, rounds=rounds, usage=usage)
        buffer = roofline.flush_buffer() if settings.with_cold else None
        if buffer is not None:
            tell("timing with flushed caches")
            flushed_rounds = min(rounds, QUICK_FLUSHED_ROUNDS if settings.quick else FLUSHED_ROUNDS)
            timings = _with_flushed(timings, flushed(by_text, rounds=flushed_rounds, buffer=buffer))
        roof = None if buffer is None else roofline.measure(buffer, machine.isa())
        for key, item in opened.items():
            if item.run is not None and item.artifact is not None:
                accuracy_found = None
                if labelled is not None:
                    tell(f"accuracy of {item.engine.name}")
                    accuracy_found = accuracy(item.run, *labelled, batch=settings.batch)
                item.row = EngineResult(
                    engine=item.engine.name,
                    bytes_on_disk=item.artifact.bytes_on_disk,
                    note=item.artifact.note,
                    timing=timings[str(key)],
                    memory=_memory(item, ports, settings, tell),
                    accuracy=accuracy_found,
                )
        layers = [
            _profiled_layers(variant.packed, inputs, settings, roof) if "gossamer" in names else []
            for variant in variants
        ]
    noise = Noise.of(timings, usage, threads=settings.threads)
    return [
        BenchResult(
            network=twin.network.name,
            batch=settings.batch,
            threads=settings.threads,
            rounds=rounds,
            engines=[item.row for item in opened.values() if item.variant in (None, index) and item.row],
            layers=layers[index],
            machine=machine.describe(),
            test_examples=0 if labelled is None else len(labelled[1]),
            quick=settings.quick,
            warnings=noise.warnings(),
            sparsity=variant.sparsity,
            pattern=variant.pattern,
            roof=roof,
            cold=""
            if buffer is None
            else f"single calls, each after {buffer.nbytes >> 20} MiB were rewritten",
            noise=noise,
            length=twin.length,
        )
        for index, variant in enumerate(variants)
    ]


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


def _build(item: _Opened, *, subject: Subject, folder: Path, settings: Settings) -> None:
    item.artifact = item.engine.build(subject, folder, batch=settings.batch)


def _open(item: _Opened, *, inputs: list[np.ndarray], settings: Settings) -> None:
    """Load and call once."""
    assert item.artifact is not None
    opened = item.engine.open(item.artifact.path, batch=settings.batch, threads=settings.threads)
    opened(inputs)
    item.run = opened


def _attempt(item: _Opened, work: Callable[[_Opened], None]) -> None:
    """Other engines raise errors of their own kinds, each reason goes into the table; ours end the benchmark."""
    try:
        work(item)
    except Exception as error:
        if item.engine.runs_packed:
            raise
        why = f"{error}" if isinstance(error, GossamerError) else f"{type(error).__name__}: {error}"
        item.row = EngineResult(engine=item.engine.name, error=why)


def _call(run_engine: Run, inputs: list[np.ndarray]) -> Callable[[], object]:
    return lambda: run_engine(inputs)


def _with_flushed(timings: dict[str, Timing], cold: dict[str, list[float]]) -> dict[str, Timing]:
    return {
        key: replace(timing, flushed_p50=float(np.median(cold[key])), flushed_minimum=float(min(cold[key])))
        for key, timing in timings.items()
    }


def _memory(item: _Opened, ports: Sequence[Port], settings: Settings, tell: Progress) -> memory.Memory | None:
    if not settings.with_memory or not is_known() or item.artifact is None:
        return None
    tell(f"memory of {item.engine.name}")
    return memory.measure(
        item.engine.name, item.artifact.path, batch=settings.batch, threads=settings.threads, ports=ports
    )


def _profiled_layers(
    packed: Path, inputs: list[np.ndarray], settings: Settings, roof: roofline.Roof | None
) -> list[dict[str, object]]:
    """Rows of the plan; seconds are the minimum of ten profiled runs."""
    session = runtime.load(
        packed,
        threads=settings.threads,
        max_batch=settings.batch,
        tune=settings.tune,
        pin=settings.pin,
    )
    rows = session.profile(
        dict(zip((value.name for value in session.inputs), inputs, strict=True)), repeats=10
    )
    twin = DenseNetwork.of(packed)
    return roofline.explained(
        rows,
        twin.network.nodes,
        twin.value_shapes(settings.batch),
        batch=settings.batch,
        threads=settings.threads,
        roof=roof,
    )
