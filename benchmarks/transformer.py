"""DeiT-Tiny at 224x224 and BERT-base with 128 tokens, their linear layers pruned at random places, against dense engines.

python benchmarks/transformer.py --sparsity 0.9 --batch 1 --threads 1 --json   DeiT's figures on top, both under `records`
python benchmarks/transformer.py --network bert_base --sparsity 0.8,0.9
"""

from pathlib import Path

import torch

from gossamer.bench.script import main
from gossamer.bench.workload import Workload
from gossamer.tasks.models import bert_base, deit_tiny

WORKLOADS = {
    "deit_tiny": Workload(
        name="deit_tiny",
        model=deit_tiny,
        example=lambda batch, generator: torch.randn(batch, 3, 224, 224, generator=generator),
        masks="uniform random on the blocks' linear layers; patches, attention products and head dense",
    ),
    "bert_base": Workload(
        name="bert_base",
        model=bert_base,
        example=lambda batch, generator: torch.randint(0, 30522, (batch, 128), generator=generator),
        masks="uniform random on the layers' and the pooler's linear layers; embeddings, attention products and classifier dense",
    ),
}

if __name__ == "__main__":
    main(
        script="transformer",
        doc=__doc__,
        workloads=WORKLOADS,
        results=Path(__file__).parent / "results" / "transformer.json",
    )
