"""One LSTM and one GRU, input and hidden size 1024, 32 steps, both matrices pruned at random places, against dense engines.

python benchmarks/rnn.py --sparsity 0.9 --batch 1 --threads 1 --json           the LSTM's figures on top, both under `records`
python benchmarks/rnn.py --network lstm --pattern block:8x1,unstructured
"""

from pathlib import Path

import torch

from gossamer.bench.script import main
from gossamer.bench.workload import Workload
from gossamer.tasks.models import gru, lstm

WORKLOADS = {
    name: Workload(
        name=name,
        model=model,
        example=lambda batch, generator: torch.randn(batch, 32, 1024, generator=generator),
        masks="uniform random on both matrices",
    )
    for name, model in (("lstm", lstm), ("gru", gru))
}

if __name__ == "__main__":
    main(
        script="rnn",
        doc=__doc__,
        workloads=WORKLOADS,
        results=Path(__file__).parent / "results" / "rnn.json",
        pattern="gs:8,1",
    )
