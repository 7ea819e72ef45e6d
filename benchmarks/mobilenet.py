"""MobileNetV1 and MobileNetV2 at 224x224, their 1x1 convolutions pruned at random places, against dense engines.

python benchmarks/mobilenet.py --sparsity 0.9 --batch 1 --threads 1 --json     V1's figures on top, both under `records`
python benchmarks/mobilenet.py --network mobilenet_v2 --sparsity 0.8,0.9
"""

from pathlib import Path

import torch

from gossamer.bench.script import main
from gossamer.bench.workload import Workload
from gossamer.tasks.models import mobilenet_v1, mobilenet_v2

WORKLOADS = {
    name: Workload(
        name=name,
        model=model,
        example=lambda batch, generator: torch.randn(batch, 3, 224, 224, generator=generator),
        masks="uniform random on 1x1 convolutions, stem, head and depthwise dense",
    )
    for name, model in (("mobilenet_v1", mobilenet_v1), ("mobilenet_v2", mobilenet_v2))
}

if __name__ == "__main__":
    main(
        script="mobilenet",
        doc=__doc__,
        workloads=WORKLOADS,
        results=Path(__file__).parent / "results" / "mobilenet.json",
    )
