"""gossamer pack"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gossamer.cli.output import Json, Output
from gossamer.cli.subjects import Sizes, is_onnx
from gossamer.errors import ExportError, FileError

if TYPE_CHECKING:
    from gossamer.export import PackReport


def pack(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN_DIR|MODEL|FILE.onnx", help="Folder of a run, package.module:callable, or ONNX file."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The packed file. Default: NAME.gsm.safetensors.")
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(
            help="Shape of an example, batch first: 1x3x224x224. Several, and whole numbers: ids=1x128:0..999,mask=1x128:1..1."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights for MODEL: .safetensors, or a state dict.")
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Pattern of the masks. Default: the one stored with them, else unstructured."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16 or float32. Default: the recipe's, else float16.")
    ] = None,
    max_batch: Annotated[int, typer.Option(help="Largest batch that the file promises.")] = 64,
    max_length: Annotated[
        int | None,
        typer.Option(help="For FILE.onnx with a free sequence length: the largest one. Default: up to 512."),
    ] = None,
    length: Annotated[
        str | None,
        typer.Option(help="Free length of MODEL's inputs, dimension and range: ids:1,mask:1=1..512."),
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="State kept between runs, INPUT=OUTPUT; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Pack a finished network into one small file that runs without torch.

    The packed and the masked network are compared on the way; too large a difference is an error.

    \b
    Examples:
      gossamer pack runs/fashion-mnist-resnet20-gradual -o model.safetensors
      gossamer pack mypackage.nets:small --weights small.pt --input 1x3x224x224 -o small.safetensors
      gossamer pack resnet50-sparse.onnx -o resnet50.safetensors
      gossamer pack nets:encoder --input ids=1x128:0..30521,mask=1x128:1..1 --length ids:1,mask:1=1..512
      gossamer pack nets:speech --input x=1x50x40,h0=1x1x64 --length x:1=1..500 --state h0=hn
    """
    from gossamer.cli.subjects import onnx_packed, subject_of
    from gossamer.export.arguments import pattern_of

    output = Output(json)
    pattern_of(pattern, None)  # before a model is made and weights are read
    if is_onnx(source):
        path = out or Path(f"{Path(source).stem}.gsm.safetensors")
        sizes = Sizes(input_shape=input, max_batch=max_batch, max_length=max_length)
        report = onnx_packed(source, path, weights=weights, sizes=sizes, pattern=pattern, dtype=dtype)
        _tell(output, path, report)
        return
    subject = subject_of(source, weights=weights, input_shape=input, as_trained=True)
    for note in subject.notes:
        output.say(note)
    import torch
    from torch import Tensor

    from gossamer.export import pack as pack_network
    from gossamer.export.compact import compact_layers
    from gossamer.export.spec import examples_of

    path = out or Path(f"{subject.name}.gsm.safetensors")
    if weights is not None and path.resolve() == weights.resolve():
        raise FileError(f"--out {path}: expected another file than --weights, which would be overwritten")
    if input is not None and not Path(source).is_dir():
        example: Tensor | dict[str, Tensor] = examples_of(input)
    else:
        example = torch.randn(subject.input_shape, generator=torch.Generator().manual_seed(0))
    done = pack_network(
        subject.model,
        example,
        path,
        masks=subject.masks,
        pattern=pattern
        or (None if compact_layers(subject.model) else subject.pattern),  # they have their own
        dtype=dtype or subject.dtype,
        max_batch=max_batch,
        labels=subject.labels,
        preprocessing=subject.preprocessing,
        recipe=subject.recipe,
        metrics=subject.metrics,
        license=subject.licence,
        length=length,
        states=_pairs(state or []),
    )
    _tell(output, path, done)


def _pairs(texts: list[str]) -> dict[str, str]:
    """INPUT=OUTPUT as input -> output."""
    found = dict(text.partition("=")[::2] for text in texts)
    if not all(name and output for name, output in found.items()):
        raise ExportError(f"--state: expected INPUT=OUTPUT, such as h0=hn, got {' '.join(texts)}")
    return found


def _tell(output: Output, path: Path, done: PackReport) -> None:
    output.say(str(done))
    output.say(f"wrote {path} ({path.stat().st_size:,} bytes); measure it with: gossamer bench {path}")
    output.result({"file": str(path), "bytes": path.stat().st_size, **done.to_json()})
