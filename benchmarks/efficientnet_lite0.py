"""EfficientNet-Lite0 with its real ImageNet weights, pruned by global magnitude, and the demo's trained network: speed and fall-backs.

No labelled ImageNet images are at hand and nothing is trained after pruning: these figures speak of speed on masks that real weights
make (uneven over layers), never of accuracy. `fidelity` is the share of random images on which pruned and dense agree on the class.

    python benchmarks/efficientnet_lite0.py --json
    python benchmarks/efficientnet_lite0.py --sparsity 0.8,0.9 --threads 1 --quick
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gossamer.bench import Settings, Variant, compare
from gossamer.bench.result import BenchResult
from gossamer.bench.script import as_object, page, store
from gossamer.bench.workload import DENSE, INT8, Sweep, Workload, record
from gossamer.export import pack
from gossamer.tasks import store as data
from gossamer.tasks.models import efficientnet_lite0
from gossamer.tasks.weights import load_by_order
from gossamer.training import Sparsifier
from gossamer.training.methods import OneShot
from gossamer.training.protection import Protection

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "build" / "demo"
RESULTS = Path(__file__).parent / "results" / "efficientnet_lite0.json"
MASKS = "global magnitude of trained weights, stem and depthwise convolutions dense"


def trained() -> nn.Module:
    """The published network; fetched once, licence told."""
    wanted = data.data_set("efficientnet-lite0")
    print(f"weights: {wanted.licence}", file=sys.stderr)
    folder = data.get("efficientnet-lite0", lambda line: print(line, file=sys.stderr))
    model = efficientnet_lite0().eval()
    load_by_order(model, folder / wanted.files[0].name)
    return model


def packed(dense: nn.Module, sparsity: float, path: Path, batch: int) -> tuple[Variant, float, float]:
    """A pruned copy; with its largest error against float64 and its fidelity."""
    model = copy.deepcopy(dense)
    method = OneShot(sparsity=sparsity, allocation="global_rank")
    sparsifier = Sparsifier(model, method, protect=Protection(last=False))
    masks = {name: mask.clone() for name, mask in sparsifier.masks.items()}
    sparsifier.finalize()
    images = torch.rand(16, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    report = pack(
        model, images[:1], path, masks=masks, dtype="float32", max_batch=batch, name="efficientnet_lite0"
    )
    with torch.no_grad():
        agree = (model(images).argmax(1) == dense(images).argmax(1)).float().mean()
    error = max(report.verification.errors.values())
    return Variant(packed=path, sparsity=sparsity, pattern="unstructured"), error, float(agree)


def fallbacks(result: BenchResult) -> list[dict[str, Any]]:
    """Matrices that run dense, and why."""
    return [
        {key: row[key] for key in ("name", "kernel", "reason", "share")}
        for row in result.layers
        if "dense" in row["kernel"]
    ]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sparsity", default="0.8,0.9")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, nothing else; never stored")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--store", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--plot", type=Path, help="write a page with plots")
    options = parser.parse_args()
    settings = Settings(
        batch=options.batch,
        threads=options.threads,
        rounds=options.rounds,
        quick=options.quick,
        with_memory=False,
    )
    engines = (*DENSE, INT8, "gossamer")
    records: list[dict[str, Any]] = []

    def measure(name: str, variants: list[Variant], extra: list[dict[str, Any]], dense: Path | None) -> None:
        workload = Workload(name=name, model=nn.Identity, example=lambda *_: torch.zeros(1), masks=MASKS)
        tell = lambda line: print(f"{name}: {line}", file=sys.stderr)  # noqa: E731
        results = compare(variants, settings=settings, engines=engines, dense=dense, progress=tell)
        for result, more in zip(results, extra, strict=True):
            row = record(workload, Sweep(dtype=more.pop("dtype")), result, more.pop("error"))
            records.append({**row, **more, "fallbacks": fallbacks(result)})

    with tempfile.TemporaryDirectory() as folder:
        model = trained()
        made = [
            packed(model, float(text), Path(folder) / f"{index}.safetensors", options.batch)
            for index, text in enumerate(options.sparsity.split(","))
        ]
        extra = [{"dtype": "float32", "error": error, "fidelity": fidelity} for _, error, fidelity in made]
        measure("efficientnet_lite0", [variant for variant, _, _ in made], extra, None)
        if (DEMO / "sparse.safetensors").is_file() and (DEMO / "dense.safetensors").is_file():
            demo = Variant(packed=DEMO / "sparse.safetensors", sparsity=0.9, pattern="unstructured")
            measure(
                "demo_resnet20", [demo], [{"dtype": "float16", "error": None}], DEMO / "dense.safetensors"
            )
    if options.json:
        print(json.dumps(as_object(records)))
    else:
        for row in records:
            print(
                f"{row['network']} {row['sparsity']}: {row['ms']['gossamer']} ms, {row['ratio_over_best_dense']}x over dense, "
                f"{row['ratio_over_int8']}x over int8; dense layers: {len(row['fallbacks'])}"
            )
    if options.plot is not None:
        page("efficientnet_lite0", records).write(options.plot)
    if options.store and not options.quick:
        store(RESULTS, "efficientnet_lite0", records)


if __name__ == "__main__":
    main()
