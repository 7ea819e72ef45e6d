"""gossamer run"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, Output
from gossamer.errors import RuntimeFailure


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A packed file.")],
    input: Annotated[Path, typer.Argument(metavar="INPUT", help="An .npy or .npz file, or an image.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the outputs: .npy for one, .npz for several.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads.")] = 1,
    tune: Annotated[
        bool, typer.Option("--tune", help="Measure what might run in each layer and take the fastest.")
    ] = False,
    pin: Annotated[bool, typer.Option("--pin", help="Keep every thread but the first on one CPU.")] = False,
    top: Annotated[int, typer.Option(help="How many labels to print for each example.")] = 3,
    json: Json = False,
) -> None:
    """Run a packed file on an input. Prints labels with probabilities where the file has labels.

    An .npz file holds one array for each input, under the input's name; the batch may be left out of a single example.

    \b
    Examples:
      gossamer run model.safetensors photo.png
      gossamer run model.safetensors batch.npy -o answers.npy
    """
    from gossamer.cli import arrays, packed
    from gossamer.runtime.arrays import check_name, write_arrays

    output = Output(json)
    if top < 1:
        raise RuntimeFailure(f"--top: expected a whole number from 1 on, got {top}")
    session = packed.open_session(file, threads=threads, tune=tune, pin=pin)
    for remark in session.describe()["remarks"]:
        output.say(f"note: {remark}")
    if out is not None:
        check_name(out, dict.fromkeys(item.name for item in session.outputs))
    states = [state.input for state in session.states]
    given = arrays.read_inputs(input, session.inputs, session.preprocessing, states)
    if session.preprocessing is None and input.suffix not in (".npy", ".npz"):
        output.say(
            f"note: {file} does not say how images are prepared; resized to the input's size and scaled to 0..1 "
            "(gossamer.pack(..., preprocessing=) stores mean and std)"
        )
    answers = session.run(given)
    if out is not None:
        write_arrays(out, answers)
        output.say(f"wrote {out}")
    ranked = arrays.ranked(next(iter(answers.values())), session.labels, top) if session.labels else []
    for number, entries in enumerate(ranked):
        words = ", ".join(f"{entry['label']} {entry['probability']:.1%}" for entry in entries)
        output.say(f"{number}: {words}" if len(ranked) > 1 else words)
    for name, answer in answers.items():
        shape = "x".join(map(str, answer.shape))
        if not ranked and out is None:
            output.say(f"{name} [{shape}]\n{answer}")
    output.result(
        {
            "outputs": {name: list(answer.shape) for name, answer in answers.items()},
            "predictions": ranked,
            "file": str(out) if out else None,
            **({} if out else {"values": {name: answer.tolist() for name, answer in answers.items()}}),
        }
    )
