"""Jobs in processes of their own: results in order, errors raised here, also where a process dies."""

from __future__ import annotations

import os

import pytest
import torch

from gossamer.bench.parallel import side_by_side
from gossamer.errors import RuntimeFailure


def test_more_jobs_than_cpus_keep_their_order():
    torch.ones(300, 300) @ torch.ones(300, 300)  # torch has its threads already
    jobs = [
        lambda place=place: float((torch.ones(200, 200) * place).mm(torch.ones(200, 1))[0])
        for place in range(5)
    ]
    assert side_by_side(jobs) == [0.0, 200.0, 400.0, 600.0, 800.0]


def test_errors_are_raised_here():
    def fails() -> int:
        raise RuntimeFailure("expected this")

    with pytest.raises(RuntimeFailure, match="expected this"):
        side_by_side([lambda: 1, fails])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one CPU: everything runs here")
def test_a_process_that_dies_is_told():
    with pytest.raises(RuntimeFailure, match="ended early"):
        side_by_side([lambda: 1, lambda: os._exit(1)])
