"""gossamer bench"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossamer.cli.output import Json, Output
from gossamer.errors import RuntimeFailure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CALIBRATION_IMAGES = 300


def bench(
    file: Annotated[
        str, typer.Argument(metavar="FILE|MODEL", help="A packed file, or package.module:callable.")
    ],
    dense: Annotated[
        Path | None, typer.Option(help="Packed file of the dense twin, if it was trained.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Comma-separated: torch, onnxruntime, openvino, openvino_int8. Default: all."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Examples an inference.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of every engine.")] = 1,
    rounds: Annotated[int | None, typer.Option(help="Bursts of each engine. Default: 30, quick 5.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds; never quoted.")] = False,
    task: Annotated[
        str | None, typer.Option(help="Also measure accuracy, on this task's test images.")
    ] = None,
    data: Annotated[str, typer.Option(help="Data of the task: embedded or full.")] = "embedded",
    input: Annotated[str | None, typer.Option(help="For MODEL: shape of an example, 1x3x224x224.")] = None,
    weights: Annotated[Path | None, typer.Option(help="For MODEL: its weights.")] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="For MODEL: prune it at once by magnitude, to measure its speed.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="For MODEL, pruned at once: unstructured, 2:4, gs:8,1, ...")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the JSON into this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure a packed network beside dense engines, on this machine, interleaved, pinned to the same cores.

    \b
    Examples:
      gossamer bench model.safetensors
      gossamer bench model.safetensors --against onnxruntime,openvino --threads 2 --json
      gossamer bench mypackage.nets:small --input 1x3x224x224 --sparsity 0.9
    """
    import tempfile
    from json import dumps

    from gossamer.bench import DEFAULT_ENGINES, run
    from gossamer.files import write_atomic

    output = Output(json)
    labelled, calibration = (None, None) if task is None else examples(task, data)
    with tempfile.TemporaryDirectory() as scratch:
        if ":" in file and not Path(file).exists():
            packed = _packed(file, Path(scratch), weights, input, batch, sparsity, pattern)
        elif sparsity is not None or pattern is not None:
            raise RuntimeFailure(
                f"--sparsity and --pattern prune package.module:callable; {file} is what it is"
            )
        elif Path(file).is_file():
            packed = Path(file)
        else:
            raise RuntimeFailure(f"{file}: expected a packed file or package.module:callable; no such file")
        result = run(
            packed,
            dense=dense,
            engines=_engines(against) if against else DEFAULT_ENGINES,
            batch=batch,
            threads=threads,
            rounds=rounds,
            seed=seed,
            quick=quick,
            labelled=labelled,
            calibration=calibration,
            progress=lambda line: typer.echo(line, err=True),
        )
    output.say(result.table())
    if out is not None:
        write_atomic(out, (dumps(result.to_json(), indent=1) + "\n").encode())
        output.say(f"wrote {out}")
    output.result(result.to_json())


def examples(
    task: str, data: str
) -> tuple[tuple[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]:
    """Test images with labels, and training images for calibration, as the network gets them."""
    from gossamer.tasks.catalog import TASKS
    from gossamer.tasks.images import normalized

    if task not in TASKS or data not in TASKS[task].data:
        known = "; ".join(f"{name} with {', '.join(found.data)}" for name, found in TASKS.items())
        raise RuntimeFailure(f"--task {task} --data {data}: expected one of {known}")
    found = TASKS[task]
    images = found.data[data].load()
    test = normalized(images.test.images, mean=found.mean, std=found.std)
    calibration = normalized(images.train.images[:CALIBRATION_IMAGES], mean=found.mean, std=found.std)
    return (test, images.test.labels), calibration


def _engines(against: str) -> list[str]:
    """What is measured: the packed file is, named or not.

    >>> _engines("torch, onnxruntime")
    ['torch', 'onnxruntime', 'gossamer']
    """
    names = [name.strip() for name in against.split(",")]
    return names if "gossamer" in names else [*names, "gossamer"]


def _packed(
    spec: str,
    folder: Path,
    weights: Path | None,
    input_shape: str | None,
    batch: int,
    sparsity: float | None,
    pattern: str | None,
) -> Path:
    from gossamer.bench.fresh import prune_at_once
    from gossamer.cli.subjects import subject_of
    from gossamer.export import example_of, pack

    if input_shape is None:
        raise RuntimeFailure(
            f"{spec}: expected --input with the shape of an example, such as --input 1x3x224x224"
        )
    subject = subject_of(spec, weights=weights, input_shape=input_shape)
    masks, chosen = subject.masks, pattern or subject.pattern
    if sparsity is not None or pattern is not None:
        chosen = pattern or "unstructured"
        masks = prune_at_once(subject.model, sparsity=sparsity, pattern=chosen)
    path = folder / "packed.safetensors"
    pack(subject.model, example_of(input_shape), path, masks=masks, pattern=chosen, max_batch=max(batch, 2))
    return path
