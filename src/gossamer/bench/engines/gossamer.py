"""Our own runtime on the packed file."""

from __future__ import annotations

from pathlib import Path

from gossamer import runtime
from gossamer.bench.engines.base import Arrays, Artifact, Run
from gossamer.bench.subject import Subject


class Gossamer:
    """The packed file through the native runtime."""

    name = "gossamer"
    runs_packed = True

    def build(self, subject: Subject, folder: Path, *, batch: int) -> Artifact:
        """The packed file itself."""
        del folder, batch
        return Artifact(path=subject.packed, bytes_on_disk=subject.packed.stat().st_size)

    def open(self, path: Path, *, batch: int, threads: int) -> Run:
        """Plan for this batch and thread count."""
        session = runtime.load(path, threads=threads, max_batch=batch)
        names = [value.name for value in session.inputs]
        outputs = [value.name for value in session.outputs]

        def run(inputs: Arrays) -> Arrays:
            result = session.run(dict(zip(names, inputs, strict=True)))
            return [result[name] for name in outputs]

        return run
