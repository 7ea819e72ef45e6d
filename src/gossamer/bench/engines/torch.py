"""PyTorch on the dense twin, eager and compiled, in the faster of its two memory layouts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.bench.engines.base import Arrays, Artifact, Run, require
from gossamer.bench.subject import DenseNetwork, Subject, random_inputs


class Torch:
    """Dense network, batch norms folded, torch.inference_mode; NCHW and channels_last are both tried when it
    is opened."""

    name = "torch"
    runs_packed = False

    def build(self, subject: Subject, folder: Path, *, batch: int) -> Artifact:
        """The dense weights in float32, as a checkpoint would hold them."""
        del folder, batch
        return _artifact(subject, "eager, faster of NCHW and channels_last")

    def open(self, path: Path, *, batch: int, threads: int) -> Run:
        """Build the module and keep the layout whose best of ten calls is shorter."""
        torch = require("torch", self.name)
        torch.set_num_threads(threads)
        dense = DenseNetwork.of(path)
        example = random_inputs(dense.ports(batch), seed=0)
        formats = (torch.contiguous_format, torch.channels_last)
        layouts = [_runner(dense, memory_format, lambda model: model) for memory_format in formats]
        return min(layouts, key=lambda run: _best_of(run, example))


class TorchCompile:
    """The same through torch.compile with frozen weights (inductor); compiles when it is opened, which takes a C++ compiler and up to
    a minute."""

    name = "torch_compile"
    runs_packed = False

    def build(self, subject: Subject, folder: Path, *, batch: int) -> Artifact:
        """The dense weights in float32; what inductor compiles is not shipped."""
        del folder, batch
        return _artifact(subject, "inductor with frozen weights, NCHW; compiled before it is measured")

    def open(self, path: Path, *, batch: int, threads: int) -> Run:
        """Compile for the shapes of this batch."""
        torch = require("torch", self.name)
        import torch._inductor.config as inductor

        torch.set_num_threads(threads)
        dense = DenseNetwork.of(path)
        example = random_inputs(dense.ports(batch), seed=0)
        with inductor.patch(freezing=True):
            run = _runner(dense, torch.contiguous_format, lambda model: torch.compile(model, dynamic=False))
            run(example)
        return run


def _artifact(subject: Subject, note: str) -> Artifact:
    size = sum(weight.nbytes for weight in DenseNetwork.of(subject.dense_path).weights.values())
    return Artifact(path=subject.dense_path, bytes_on_disk=size, note=note)


def _runner(dense: DenseNetwork, memory_format: Any, prepare: Callable[[Any], Any]) -> Run:
    import torch

    from gossamer.bench.torch_model import TorchModel

    model = prepare(TorchModel(dense, memory_format).eval())

    def run(inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            tensors = [torch.from_numpy(array) for array in inputs]
            tensors = [x.contiguous(memory_format=memory_format) if x.ndim == 4 else x for x in tensors]
            return [np.asarray(output.contiguous()) for output in model(*tensors)]

    return run


def _best_of(run: Run, example: Arrays) -> float:
    times = []
    for _ in range(10):
        start = time.perf_counter()
        run(example)
        times.append(time.perf_counter() - start)
    return min(times)
