"""Our own runtime on the packed file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gossamer import runtime
from gossamer.bench.engines.base import Arrays, Artifact, Run
from gossamer.bench.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Gossamer:
    """The packed file through the native runtime. tune, pin: as `gossamer.runtime.load` takes them."""

    tune: bool = False
    pin: bool = False
    name = "gossamer"
    runs_packed = True

    def build(self, subject: Subject, folder: Path, *, batch: int) -> Artifact:
        """The packed file itself."""
        del folder, batch
        return Artifact(path=subject.packed, bytes_on_disk=subject.packed.stat().st_size)

    def open(self, path: Path, *, batch: int, threads: int) -> Run:
        """Plan for this batch and thread count."""
        session = runtime.load(path, threads=threads, max_batch=batch, tune=self.tune, pin=self.pin)
        names = [value.name for value in session.inputs]
        outputs = [value.name for value in session.outputs]

        def run(inputs: Arrays) -> Arrays:
            result = session.run(dict(zip(names, inputs, strict=True)))
            return [result[name] for name in outputs]

        return run
