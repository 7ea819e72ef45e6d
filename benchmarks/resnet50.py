"""ResNet-50 at 224x224, pruned at random places, against dense ONNX Runtime and OpenVINO (float32 and int8).

python benchmarks/resnet50.py --sparsity 0.9 --batch 1 --threads 1 --json
python benchmarks/resnet50.py --sparsity 0.9,0.95 --pattern block:4x1 --quick
"""

from pathlib import Path

import torch

from gossamer.bench.script import main
from gossamer.bench.workload import Workload
from gossamer.tasks.models import resnet18, resnet50

WORKLOADS = {
    name: Workload(
        name=name,
        model=model,
        example=lambda batch, generator: torch.randn(batch, 3, 224, 224, generator=generator),
    )
    for name, model in (("resnet50", resnet50), ("resnet18", resnet18))
}

if __name__ == "__main__":
    main(
        script="resnet50",
        doc=__doc__,
        workloads=WORKLOADS,
        default=("resnet50",),
        results=Path(__file__).parent / "results" / "resnet50.json",
    )
