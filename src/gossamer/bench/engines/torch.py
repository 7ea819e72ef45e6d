"""Eager PyTorch on the dense twin, in the faster of its two memory layouts."""

from __future__ import annotations

import time
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
        weights = DenseNetwork.of(subject.dense_path).weights
        size = sum(weight.nbytes for weight in weights.values())
        return Artifact(
            path=subject.dense_path, bytes_on_disk=size, note="eager, faster of NCHW and channels_last"
        )

    def open(self, path: Path, *, batch: int, threads: int) -> Run:
        """Build the module and keep the layout whose best of ten calls is shorter."""
        torch = require("torch", self.name)
        from gossamer.bench.torch_model import TorchModel

        torch.set_num_threads(threads)
        dense = DenseNetwork.of(path)

        def runner(memory_format: Any) -> Run:
            model = TorchModel(dense, memory_format)

            def run(inputs: Arrays) -> Arrays:
                with torch.inference_mode():
                    tensors = [torch.from_numpy(array) for array in inputs]
                    tensors = [
                        x.contiguous(memory_format=memory_format) if x.ndim == 4 else x for x in tensors
                    ]
                    return [np.asarray(output.contiguous()) for output in model(*tensors)]

            return run

        example = random_inputs(dense.input_shapes(batch), seed=0)
        layouts = [runner(torch.contiguous_format), runner(torch.channels_last)]
        return min(layouts, key=lambda run: _best_of(run, example))


def _best_of(run: Run, example: Arrays) -> float:
    times = []
    for _ in range(10):
        start = time.perf_counter()
        run(example)
        times.append(time.perf_counter() - start)
    return min(times)
