"""The memory of one run in one record: what it would be in each storage, at the counts of now and at the peak, and what it is."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gossamer.training.engine import Sparsifier
from gossamer.training.memory import Memory, Storage, measured_memory, predicted_memory
from gossamer.training.optimizers import support_for

SPARSE: tuple[Storage, ...] = ("masked", "compact")


def footprint(
    model: nn.Module,
    optimizer: Optimizer,
    sparsifier: Sparsifier | None = None,
    *,
    peak_kept: Mapping[str, int] | None = None,
    activations: int = 0,
) -> dict[str, Any]:
    """Bytes by kind: `measured` of the tensors that exist (call it after a step), `predicted` of dense, masked and compact training.

    peak_kept: the most entries of each weight (`CostReport.peak_kept`); without it the counts of now are the peak.

    >>> import torch
    >>> from gossamer.training import Protection, Static
    >>> model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> sparsifier = Sparsifier(model, Static(sparsity=0.9), optimizer, protect=Protection(first=False, last=False))
    >>> model(torch.ones(1, 64)).sum().backward()
    >>> optimizer.step()
    >>> found = footprint(model, optimizer, sparsifier)
    >>> found["measured"] == found["predicted"]["masked"]["target"], found["predicted"]["compact"]["target"]["weights"]
    (True, 3788)
    """
    return {
        "measured": measured_memory(model, optimizer, sparsifier, activations=activations).to_dict(),
        "predicted": predictions(model, optimizer, sparsifier, peak_kept=peak_kept, activations=activations),
    }


def predictions(
    model: nn.Module,
    optimizer: Optimizer,
    sparsifier: Sparsifier | None = None,
    *,
    peak_kept: Mapping[str, int] | None = None,
    target_kept: Mapping[str, int] | None = None,
    activations: int = 0,
) -> dict[str, dict[str, dict[str, int]]]:
    """Storage -> "target" and "peak" -> bytes by kind; only dense training has no counts. target_kept: the final counts, where those of
    now are not."""

    def at(storage: Storage, counts: Mapping[str, int]) -> Memory:
        return predicted_memory(
            model,
            optimizer,
            counts,
            storage=storage,
            pattern="unstructured" if sparsifier is None else str(sparsifier.pattern),
            counts_births=sparsifier is not None and _counts_births(sparsifier, optimizer),
            activations=activations,
        )

    found = {"dense": {"target": at("dense", {}).to_dict()}}
    if sparsifier is None:
        return found
    target = dict(target_kept or {row.name: row.num_kept for row in sparsifier.summary().masked})
    peak = {name: max(count, (peak_kept or {}).get(name, 0)) for name, count in target.items()}
    for storage in SPARSE:
        found[storage] = {
            "target": at(storage, target).to_dict(),
            "peak": at(storage, peak).to_dict(),
        }
    return found


def _counts_births(sparsifier: Sparsifier, optimizer: Optimizer) -> bool:
    """Whether the step at which a weight was grown is held for each: the method grows, and Adam counts their own steps."""
    counted = sparsifier.adam_counts == "per_weight" and support_for(optimizer).counts == "adam"
    return counted and sparsifier.method.grows
