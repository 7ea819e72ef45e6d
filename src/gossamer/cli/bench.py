"""gossamer bench"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, Output
from gossamer.errors import RuntimeFailure


def bench(
    file: Annotated[
        str, typer.Argument(metavar="FILE|MODEL", help="A packed file, or package.module:callable.")
    ],
    dense: Annotated[
        Path | None, typer.Option(help="Packed file of the dense twin, if it was trained.")
    ] = None,
    engines: Annotated[
        str | None,
        typer.Option(help="Comma-separated: torch, onnxruntime, openvino, openvino_int8, gossamer."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Examples an inference.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of every engine.")] = 1,
    rounds: Annotated[int | None, typer.Option(help="Bursts of each engine. Default: 30, quick 5.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds; never quoted.")] = False,
    input: Annotated[str | None, typer.Option(help="For MODEL: shape of an example, 1x3x224x224.")] = None,
    weights: Annotated[Path | None, typer.Option(help="For MODEL: its weights.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the JSON into this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure a packed network beside dense engines, on this machine, interleaved, pinned to the same cores.

    \b
    Examples:
      gossamer bench model.safetensors
      gossamer bench model.safetensors --engines onnxruntime,gossamer --threads 2 --json
      gossamer bench mypackage.nets:small --input 1x3x224x224
    """
    import tempfile
    from json import dumps

    from gossamer.bench import DEFAULT_ENGINES, run
    from gossamer.files import write_atomic

    output = Output(json)
    with tempfile.TemporaryDirectory() as scratch:
        if ":" in file and not Path(file).exists():
            packed = _packed(file, Path(scratch), weights, input, batch)
        elif Path(file).is_file():
            packed = Path(file)
        else:
            raise RuntimeFailure(f"{file}: expected a packed file or package.module:callable; no such file")
        result = run(
            packed,
            dense=dense,
            engines=[name.strip() for name in engines.split(",")] if engines else DEFAULT_ENGINES,
            batch=batch,
            threads=threads,
            rounds=rounds,
            seed=seed,
            quick=quick,
            progress=lambda line: typer.echo(line, err=True),
        )
    output.say(result.table())
    if out is not None:
        write_atomic(out, (dumps(result.to_json(), indent=1) + "\n").encode())
        output.say(f"wrote {out}")
    output.result(result.to_json())


def _packed(spec: str, folder: Path, weights: Path | None, input_shape: str | None, batch: int) -> Path:
    import torch

    from gossamer.cli.subjects import subject_of
    from gossamer.export import pack

    subject = subject_of(spec, weights=weights, input_shape=input_shape)
    path = folder / "packed.safetensors"
    pack(subject.model, torch.randn(subject.input_shape), path, masks=subject.masks, max_batch=max(batch, 2))
    return path
