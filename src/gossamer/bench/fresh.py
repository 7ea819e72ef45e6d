"""A network that nobody has trained, pruned at once: its latency is that of a trained one of the same masks' shape.

Random weights give random masks. A trained mask clusters, and kernels may be faster or slower on it: figures
made so speak of shapes and sparsity, not of a certain model.
"""

from __future__ import annotations

from torch import Tensor, nn

from gossamer.training import Sparsifier
from gossamer.training.methods import OneShot
from gossamer.training.protection import Protection


def prune_at_once(
    model: nn.Module, *, sparsity: float | None, pattern: str = "unstructured"
) -> dict[str, Tensor]:
    """Prune `model` by magnitude, layers allocated by ERK; returns the masks (bool, True = kept) by parameter name.

    sparsity: zeros over all weights of linear and convolution layers; None for a pattern that fixes it (N:M).
    First and last layer are protected, unless there is no third one. The dropped weights of `model` are zero afterwards.

    >>> masks = prune_at_once(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)), sparsity=0.75)
    >>> sum(int(mask.sum()) for mask in masks.values())
    2048
    """
    layers = sum(
        isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) for module in model.modules()
    )
    protect = Protection() if layers > 2 else Protection(first=False, last=False)
    sparsifier = Sparsifier(model, OneShot(sparsity=sparsity, pattern=pattern), protect=protect)
    masks = {name: mask.clone() for name, mask in sparsifier.masks.items()}
    sparsifier.finalize()
    return masks
