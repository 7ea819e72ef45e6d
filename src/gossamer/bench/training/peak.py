"""Peak memory of training in a process of its own: `python -m gossamer.bench.training.peak ENGINE PLAN`, a plan as JSON.

Resident memory is read before the network is built, all libraries loaded: torch loads some 70 MiB of them with the first step of the
first optimizer, so a linear layer of two weights takes a step before. Then the network is built and trained for five steps, and the largest
resident set of the process is read. Their difference, MiB, is printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from gossamer.bench.training.engines import ENGINES, OPTIMIZERS
from gossamer.bench.training.run import Plan

STEPS = 5


def status(key: str) -> int:
    """KiB of a line of /proc/self/status: VmRSS, VmHWM.

    >>> status("VmHWM") >= status("VmRSS") > 0
    True
    """
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0])


def main(engine: str, plan: Plan) -> float:
    torch.set_num_threads(plan.threads)
    setting = plan.setting()
    _load_libraries(setting.optimizer)
    before = status("VmRSS")
    trained = ENGINES[engine](setting)
    for _ in range(STEPS):
        trained.step()
    return round((status("VmHWM") - before) / 1024, 1)


def _load_libraries(optimizer: str) -> None:
    layer = nn.Linear(2, 1)
    stepper = OPTIMIZERS[optimizer](layer)
    nn.functional.cross_entropy(layer(torch.zeros(1, 2)), torch.zeros(1, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
    stepper.step()


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    layers = given.pop("layers")
    print(json.dumps(main(sys.argv[1], Plan(**given, layers=None if layers is None else tuple(layers)))))
