"""What a finished run leaves: weights, masks, result.

The result is written last, so that its presence means that everything else is there.
"""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from gossamer.errors import CheckpointError, GossamerError
from gossamer.files import write_atomic
from gossamer.recipes.run_folder import RunFolder
from gossamer.recipes.tensors import write_tensors
from gossamer.recipes.validate import Plan
from gossamer.training.compact import DenseState
from gossamer.training.reports import Summary


@dataclass(frozen=True, kw_only=True)
class Sparse:
    """What is kept in the end. `summary`: with the peak of the whole run. `pattern`: that the masks keep."""

    summary: Summary
    masks: Mapping[str, Tensor]
    pattern: str


def finish(
    model: nn.Module,
    sparse: Sparse | None,
    plan: Plan,
    folder: RunFolder,
    measured: tuple[float, float],
    seconds: float,
    *,
    steps: int,
    books: Mapping[str, object],
    removed: Tensor | None = None,
) -> dict[str, object]:
    """Write model, masks and result. sparse: None after dense training. measured: accuracy and loss on the test images. books: costs and
    memory of the run, and what else the result says. removed: indices of images that a sieve has removed."""
    size = num_kept = peak_kept = _dense_counts(model)
    layers: list[dict[str, object]] = []
    kept_whole: list[str] = []
    if sparse is not None:
        summary = sparse.summary
        size, num_kept, peak_kept = summary.size, summary.num_kept, summary.peak_kept
        layers = [
            {
                "name": row.name,
                "shape": list(row.shape),
                "size": row.size,
                "num_kept": row.num_kept,
                "pattern": row.pattern,
                "reason": row.reason,
            }
            for row in summary.rows
        ]
        kept_whole = [row.name for row in summary.whole]
        write_masks(folder.masks, sparse.masks, sparse.pattern)
    if removed is not None:
        content = io.BytesIO()
        np.save(content, removed.numpy())
        write_atomic(folder.removed, content.getvalue())
    if plan.recipe.train.storage == "compact":
        write_tensors(folder.compact, model.state_dict())
    write_tensors(folder.model, DenseState(model))
    result: dict[str, object] = {
        "recipe": plan.recipe.name,
        "task": plan.recipe.task,
        "model": plan.recipe.model,
        "method": plan.recipe.method.name,
        "storage": plan.recipe.train.storage,
        "data": plan.recipe.data,
        "quick": plan.recipe.quick,
        "seed": plan.recipe.seed,
        "steps": steps,
        "epochs": plan.recipe.train.epochs,
        "test_accuracy": measured[0],
        "test_loss": measured[1],
        "test_images": plan.test_images,
        "num_weights": size,
        "num_kept": num_kept,
        "sparsity": 1 - num_kept / size,
        "peak_kept": peak_kept,
        "layers": layers,
        "kept_whole": kept_whole,
        **books,
        "seconds": round(seconds, 3),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    try:
        write_atomic(folder.result, (json.dumps(result, indent=1) + "\n").encode())
    except GossamerError as error:
        raise CheckpointError(f"the result could not be saved: {error}") from None
    return result


def write_masks(path: Path, masks: Mapping[str, Tensor], pattern: str) -> None:
    """Masks with the pattern that they keep, which packing wants to know."""
    write_tensors(path, masks, metadata={"pattern": pattern})


def read_masks(path: Path) -> dict[str, Tensor] | None:
    """The masks beside a finished model, None after dense training."""
    return load_file(path) if path.is_file() else None


def read_pattern(path: Path) -> str | None:
    """The pattern stored with the masks; None where there are no masks, or nobody wrote their pattern."""
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("pattern")


def _dense_counts(model: nn.Module) -> int:
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, kinds))
