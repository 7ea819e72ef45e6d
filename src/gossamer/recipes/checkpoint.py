"""The state of an unfinished run in one file, replaced in one step.

The file is written beside the old one, flushed to the disk and renamed over it: whoever is killed while saving, or runs out of
space, keeps the previous checkpoint. It is loaded with `weights_only=True`.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from gossamer.errors import CheckpointError, GossamerError
from gossamer.files import write_atomic

VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that decides how the run goes on.

    recipe: resolved, as YAML text. step: optimizer steps done. loss_sum: of the steps since the epoch began. seconds: of
    training so far, over all sittings. random: state of torch's generator. sparsifier: None for dense training.
    accounting: costs so far, and the sieve.
    """

    recipe: str
    step: int
    loss_sum: float
    seconds: float
    model: dict[str, Any]
    optimizer: dict[str, Any]
    sparsifier: dict[str, Any] | None
    accounting: dict[str, Any]
    random: torch.Tensor


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; on any failure the previous file stays as it was."""
    buffer = io.BytesIO()
    values = {item.name: getattr(checkpoint, item.name) for item in fields(checkpoint)}
    torch.save({"version": VERSION, **values}, buffer)
    try:
        write_atomic(path, buffer.getvalue())
    except GossamerError as error:
        raise CheckpointError(f"the checkpoint could not be saved: {error}") from None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint of this version."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    try:
        values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError, OSError) as error:
        first_line = str(error).splitlines()[:1]
        raise CheckpointError(
            f"{path} is no complete checkpoint ({len(content):,} bytes; {' '.join(first_line)}); "
            f"start over with --fresh, or choose another folder with --out"
        ) from None
    names = {item.name for item in fields(Checkpoint)}
    if not isinstance(values, dict) or values.get("version") != VERSION or set(values) != {"version", *names}:
        found = values.get("version") if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(
            f"{path}: expected a run's checkpoint of version {VERSION}, got {found!r}; it was written by something "
            f"else or by another version of gossamer. Start over with --fresh, or choose another folder with --out"
        )
    del values["version"]
    return Checkpoint(**values)
