"""Peak memory of training in a process of its own: `python -m gossamer.bench.training.peak ENGINE PLAN`, a plan as JSON.

Resident memory is read before the network is built, all libraries loaded: torch loads some 70 MiB of them with the first step of the
first optimizer, so a linear layer of two weights takes a step before. Then the network is built and trained for five steps, and the largest
resident set of the process is read. Their difference, MiB, is printed.
"""

from __future__ import annotations

import json
import sys

import torch
from torch import nn

from gossamer.bench.training.engines import ENGINES, OPTIMIZERS
from gossamer.bench.training.run import Plan
from gossamer.resident import forget_peak, resident

STEPS = 5


def main(engine: str, plan: Plan) -> float:
    """MiB."""
    torch.set_num_threads(plan.threads)
    setting = plan.setting()
    _load_libraries(setting.optimizer)
    forget_peak()
    before = resident().now
    trained = ENGINES[engine](setting)
    for _ in range(STEPS):
        trained.step()
    return round((resident().peak - before) / 2**20, 1)


def _load_libraries(optimizer: str) -> None:
    layer = nn.Linear(2, 1)
    stepper = OPTIMIZERS[optimizer](layer)
    nn.functional.cross_entropy(layer(torch.zeros(1, 2)), torch.zeros(1, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
    stepper.step()


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    layers = given.pop("layers")
    print(json.dumps(main(sys.argv[1], Plan(**given, layers=None if layers is None else tuple(layers)))))
