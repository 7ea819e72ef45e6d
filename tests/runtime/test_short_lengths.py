"""Lengths at which a thread of a layer over tokens has few lanes or none: it must leave those of the others alone."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gossamer.formats import pack, packed_file
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output
from gossamer.kernels.native import status
from gossamer.runtime import load
from gossamer.runtime.threads import usable_cpus

ISAS = json.loads(status().module.build_info())["isas_available"] if status().available else []
pytestmark = [
    pytest.mark.skipif(not ISAS, reason="needs the native library"),
    pytest.mark.skipif(
        sys.platform != "linux" or usable_cpus() < 2, reason="needs two CPUs and sets of them"
    ),
]

LONGEST = 496  # two threads share 62 vectors of 8: the second one's first lane, 248, is no multiple of 16


def tasks() -> set[int]:
    """The threads of this process."""
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


@contextmanager
def caller_first(workers: set[int]) -> Iterator[None]:
    """On one CPU, which the workers have when nobody else wants it: the caller ends its part before they begin."""
    before = os.sched_getaffinity(0)
    try:
        for task in (0, *workers):
            os.sched_setaffinity(task, {min(before)})
        for task in workers:
            os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("isa", ISAS)
def test_every_length_around_the_seam_of_two_threads(isa: str) -> None:
    draw = np.random.default_rng(0)
    matrix, mask = draw.standard_normal((32, 24), dtype=np.float32), draw.random((32, 24)) < 0.2
    network = Network(
        name="tokens",
        dims={"n": FreeDim(min=1, max=1), "s": FreeDim(min=1, max=LONGEST)},
        inputs=(Input(name="x", shape=("n", "s", 24)),),
        outputs=(Output(name="y", value="y"),),
        nodes=(Node(op="linear", name="layer", inputs=("x",), outputs=("y",), weights={"weight": "w"}),),
    )
    weight = pack(matrix * mask, mask, format="unstructured", dtype="float32")
    others = tasks()
    session = load(packed_file.to_bytes(Manifest(network=network), {"w": weight}), isa=isa, threads=2)
    with caller_first(tasks() - others):
        for length in (1, *range(240, 260), LONGEST):
            x = draw.standard_normal((1, length, 24), dtype=np.float32)
            want = x @ (matrix * mask).T
            for _ in range(5):
                np.testing.assert_allclose(session(x), want, rtol=1e-4, atol=1e-4, err_msg=f"length {length}")
