"""gossamer prune"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, Output
from gossamer.errors import GossamerError


def prune(
    source: Annotated[
        str, typer.Argument(metavar="RUN_DIR|MODEL", help="Folder of a run, or package.module:callable.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pruned weights and their masks.")],
    sparsity: Annotated[
        float | None,
        typer.Option(
            help="Zeros over all weights of linear and convolution layers, such as 0.9. Left out for 2:4, which fixes it."
        ),
    ] = None,
    pattern: Annotated[
        str, typer.Option(help="unstructured, 2:4, block:4x1, gs:8,1, window:8 or taps:4.")
    ] = "unstructured",
    allocation: Annotated[str, typer.Option(help="uniform, erk or global_rank.")] = "global_rank",
    criterion: Annotated[str, typer.Option(help="Which weights stay: magnitude.")] = "magnitude",
    weights: Annotated[
        Path | None, typer.Option(help="Weights for MODEL: .safetensors, or a state dict.")
    ] = None,
    json: Json = False,
) -> None:
    """Prune a trained network at once, without training.

    Writes model.safetensors, and masks.safetensors with the pattern, which pack and bench read there.
    Expect a loss of accuracy that grows with the sparsity; the recipes train it back.

    \b
    Examples:
      gossamer prune runs/fashion-mnist-resnet20-dense --sparsity 0.5 -o pruned
      gossamer prune torchvision.models:resnet18 --weights resnet18.pt --pattern 2:4 -o pruned
    """
    from gossamer.cli.subjects import subject_of
    from gossamer.files import check_place
    from gossamer.recipes import outcome
    from gossamer.recipes.tensors import write_tensors
    from gossamer.training import Sparsifier
    from gossamer.training.methods import OneShot

    output = Output(json)
    check_place(out / "model.safetensors")
    try:
        method = OneShot(sparsity=sparsity, pattern=pattern, allocation=allocation, criterion=criterion)
    except GossamerError as error:
        raise type(error)(str(error).removeprefix("OneShot: ")) from None
    subject = subject_of(source, weights=weights, input_shape=None if Path(source).is_dir() else "1x1")
    for note in subject.notes:
        output.say(note)
    sparsifier = Sparsifier(subject.model, method)
    masks = {name: mask.clone() for name, mask in sparsifier.masks.items()}
    summary = sparsifier.finalize().summary
    outcome.write_masks(out / "masks.safetensors", masks, pattern)
    write_tensors(out / "model.safetensors", subject.model.state_dict())
    output.say(str(summary))
    spec = subject.spec if ":" in subject.spec else f"gossamer.tasks.models:{subject.spec}"
    shape = "x".join(map(str, subject.input_shape)) if Path(source).is_dir() else "SHAPE"
    output.say(
        f"saved in {out}; pack it with: gossamer pack {spec} --weights {out / 'model.safetensors'} --input {shape}"
    )
    output.result({"folder": str(out), **summary.to_dict()})
