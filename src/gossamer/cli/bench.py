"""gossamer bench"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossamer.cli.output import Json, Output
from gossamer.errors import RuntimeFailure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from gossamer.bench import Variant

CALIBRATION_IMAGES = 300


def bench(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE|MODEL", help="A packed file, an ONNX file, or package.module:callable."),
    ],
    dense: Annotated[
        Path | None, typer.Option(help="Packed file of the dense twin, if it was trained.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: torch, torch_compile, onnxruntime, openvino, openvino_int8. Default: all but torch_compile."
        ),
    ] = None,
    batch: Annotated[str, typer.Option(help="Examples an inference; several separated by commas.")] = "1",
    threads: Annotated[str, typer.Option(help="Threads of every engine; several separated by commas.")] = "1",
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
        str | None, typer.Option(help="For MODEL: prune it at once, to measure its speed; 0.8,0.9,0.95.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="For MODEL, pruned at once: unstructured, 2:4, gs:8,1, ...")
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            help="For MODEL, pruned at once: uniform (random places, every layer alike; default) or magnitude "
            "(layers by ERK; default with --weights)."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="For MODEL: stored values, float16 or float32.")] = "float16",
    tune: Annotated[
        bool, typer.Option("--tune", help="Let our engine measure what might run in each layer first.")
    ] = False,
    pin: Annotated[
        bool, typer.Option("--pin", help="Keep every thread of our engine but the first on one CPU.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Also write a page with plots into this file.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the JSON into this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure a packed network beside dense engines, on this machine, interleaved, pinned to the same cores.

    Cold figures are single calls after the caches were rewritten. The table of layers tells the time, the rate over kept weights, the
    place below the measured roofline of one core, and why this kernel runs.

    \b
    Examples:
      gossamer bench model.safetensors
      gossamer bench model.safetensors --against onnxruntime,openvino --threads 1,2 --batch 1,8 --json
      gossamer bench mypackage.nets:small --input 1x3x224x224 --sparsity 0.8,0.9,0.95 --plot small.html
    """
    import tempfile
    from json import dumps

    from gossamer.bench import DEFAULT_ENGINES, Settings, Variant, compare
    from gossamer.cli.subjects import Sizes, is_onnx, onnx_packed
    from gossamer.files import check_place, write_atomic

    output = Output(json)
    for place in (out, plot):
        if place is not None:
            check_place(place)
    batches, counts = _numbers(batch, "--batch"), _numbers(threads, "--threads")
    labelled, calibration = (None, None) if task is None else examples(task, data)
    with tempfile.TemporaryDirectory() as scratch:
        if ":" in file and not Path(file).exists():
            subject = _Model(
                spec=file, weights=weights, input_shape=input, pattern=pattern, masks=masks, dtype=dtype
            )
            variants = subject.packed(Path(scratch), _fractions(sparsity), max(batches))
        elif sparsity is not None or pattern is not None or masks is not None:
            raise RuntimeFailure(
                f"--sparsity, --pattern and --masks prune package.module:callable; {file} is what it is"
            )
        elif is_onnx(file):
            sizes = Sizes(input_shape=input, max_batch=max(*batches, 2))
            packed = Path(scratch) / "packed.safetensors"
            onnx_packed(file, packed, weights=weights, sizes=sizes, pattern=None, dtype=dtype)
            variants = [Variant(packed=packed)]
        elif Path(file).is_file():
            variants = [Variant(packed=Path(file))]
        else:
            raise RuntimeFailure(
                f"{file}: expected a packed file, an ONNX file or package.module:callable; no such file"
            )
        results = [
            result
            for count in counts
            for size in batches
            for result in compare(
                variants,
                settings=Settings(
                    batch=size, threads=count, rounds=rounds, quick=quick, seed=seed, tune=tune, pin=pin
                ),
                dense=dense,
                engines=_engines(against) if against else DEFAULT_ENGINES,
                labelled=labelled,
                calibration=calibration,
                progress=lambda line: typer.echo(line, err=True),
            )
        ]
    for result in results:
        output.say(result.table() + "\n")
        output.say(result.layer_table() + "\n")
    answer = results[0].to_json() if len(results) == 1 else {"results": [r.to_json() for r in results]}
    if out is not None:
        write_atomic(out, (dumps(answer, indent=1) + "\n").encode())
        output.say(f"wrote {out}")
    if plot is not None:
        from gossamer.report import Page, sections

        plain = [result.to_json() for result in results]
        found = [make(item) for item in plain for make in (sections.engines, sections.layers)]
        lead = "Engines in turns, pinned to the same cores."
        page = Page(title=f"gossamer bench {file}", lead=lead, sections=(*found, sections.machine(plain[0])))
        output.say(f"wrote {page.write(plot)}")
    output.result(answer)


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


def _numbers(text: str, option: str) -> list[int]:
    """Whole numbers of a list.

    >>> _numbers("1, 8", "--batch")
    [1, 8]
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise RuntimeFailure(f"{option}: expected whole numbers from 1 on, separated by commas, got {text!r}")
    return [int(part) for part in parts]


def _fractions(text: str | None) -> list[float | None]:
    """Sparsities of a list; one None where none was asked for.

    >>> _fractions("0.8,0.95"), _fractions(None)
    ([0.8, 0.95], [None])
    """
    if text is None:
        return [None]
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= value < 1 for value in found):
        raise RuntimeFailure(
            f"--sparsity: expected numbers from 0 to below 1, separated by commas, such as 0.8,0.9, got {text!r}"
        )
    return list(found)


def _example(model: nn.Module, shape: str) -> Tensor:
    """A random example: indices where the network begins with an embedding, normal numbers otherwise."""
    import torch

    from gossamer.export import example_of, parse_shape

    first = next((module for module in model.modules() if module._parameters), None)
    if isinstance(first, torch.nn.Embedding):
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, first.num_embeddings, parse_shape(shape), generator=generator)
    return example_of(shape)


@dataclass(frozen=True, kw_only=True)
class _Model:
    """package.module:callable and how it is pruned and packed."""

    spec: str
    weights: Path | None
    input_shape: str | None
    pattern: str | None
    masks: str | None
    dtype: str

    def packed(self, folder: Path, sparsities: Sequence[float | None], batch: int) -> list[Variant]:
        """One packed file a sparsity."""
        from gossamer.bench import Variant
        from gossamer.bench.fresh import prune_at_once, random_masks
        from gossamer.cli.subjects import subject_of
        from gossamer.export import pack

        if self.input_shape is None:
            raise RuntimeFailure(
                f"{self.spec}: expected --input with the shape of an example, such as --input 1x3x224x224"
            )
        masking = self.masks or ("uniform" if self.weights is None else "magnitude")
        if masking not in ("uniform", "magnitude"):
            raise RuntimeFailure(f"--masks: expected uniform or magnitude, got {masking!r}")
        prune = random_masks if masking == "uniform" else prune_at_once
        found = []
        for index, sparsity in enumerate(sparsities):
            subject = subject_of(self.spec, weights=self.weights, input_shape=self.input_shape)
            masks, chosen = subject.masks, self.pattern or subject.pattern
            if sparsity is not None or self.pattern is not None:
                chosen = self.pattern or "unstructured"
                masks = prune(subject.model, sparsity=sparsity, pattern=chosen)
            path = folder / f"packed-{index}.safetensors"
            pack(
                subject.model,
                _example(subject.model, self.input_shape),
                path,
                masks=masks,
                pattern=chosen,
                dtype=self.dtype,
                max_batch=max(batch, 2),
            )
            found.append(Variant(packed=path, sparsity=sparsity, pattern=chosen))
        return found
