"""The state between two rounds in one file, replaced in one step: whoever is killed while saving keeps the round before."""

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from gossamer.errors import CheckpointError
from gossamer.files import write_atomic
from gossamer.training.parallel.report import TurnRow, rows_from

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Round:
    """What the rest of a run depends on. `next_round`: the one that comes; behind the rounds is the fine-tuning, then the end."""

    run: str  # settings of the run, in words: those of the method, the seed, the rule for other tensors
    next_round: int
    state: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    rows: Sequence[TurnRow]


def save(saved: Round, path: Path) -> None:
    """Writes a round; on any failure the previous file stays as it was."""
    buffer = io.BytesIO()
    values = {
        "version": VERSION,
        "run": saved.run,
        "next_round": saved.next_round,
        "state": dict(saved.state),
        "masks": dict(saved.masks),
        "rows": [asdict(row) for row in saved.rows],
    }
    torch.save(values, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path, *, run: str) -> Round | None:
    """The round to go on from; None where there is no file. CheckpointError where it belongs to another run."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    try:
        values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError, OSError) as error:
        first_line = " ".join(str(error).splitlines()[:1])
        raise CheckpointError(
            f"{path} is no complete checkpoint ({len(content):,} bytes; {first_line}); remove it to start over"
        ) from None
    if not isinstance(values, dict) or values.get("version") != VERSION or "next_round" not in values:
        raise CheckpointError(
            f"{path}: expected a checkpoint of grow_in_parallel of version {VERSION}, got something else; choose another path"
        )
    if values["run"] != run:
        raise CheckpointError(
            f"{path} belongs to another run: expected {run}, got {values['run']}; choose another path, or remove the file to start over"
        )
    return Round(
        run=run,
        next_round=values["next_round"],
        state=values["state"],
        masks=values["masks"],
        rows=rows_from(values["rows"]),
    )
