"""A network that nobody has trained, pruned at once: its latency is that of a trained one of the same masks' shape.

Random weights give random masks. A trained mask clusters, and kernels may be faster or slower on it: figures
made so speak of shapes and sparsity, not of a certain model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gossamer.errors import PatternError
from gossamer.sparsity.patterns import nearest_count, parse_pattern
from gossamer.sparsity.view import from_matrix, matrix_shape
from gossamer.training import Sparsifier
from gossamer.training.layers import choose
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
    protect = _protection(model)
    sparsifier = Sparsifier(model, OneShot(sparsity=sparsity, pattern=pattern), protect=protect)
    masks = {name: mask.clone() for name, mask in sparsifier.masks.items()}
    sparsifier.finalize()
    return masks


def random_masks(
    model: nn.Module,
    *,
    sparsity: float | None,
    pattern: str = "unstructured",
    seed: int = 0,
    protect: Protection | None = None,
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Prune every layer of `model` to the same sparsity at random places; returns the masks by parameter name.

    Kept weights grow by 1 / sqrt(density), so that values keep their size through a deep, untrained network.

    Stem, head and depthwise convolutions stay dense, and whatever `pattern` does not fit; layers and protect: as in a Sparsifier.
    sparsity: None for a pattern that fixes it (N:M). The dropped weights of `model` are zero afterwards.

    >>> model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4))
    >>> {name: int(mask.sum()) for name, mask in random_masks(model, sparsity=0.75).items()}
    {'1.weight': 64}
    """
    family = parse_pattern(pattern)
    slots = choose(model, family, _protection(model) if protect is None else protect, layers).masked
    generator = torch.Generator().manual_seed(seed)
    masks: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, slot in slots.items():
            weight = slot.weight
            shape = matrix_shape(tuple(weight.shape))
            chosen = family.for_weight(tuple(weight.shape))
            if sparsity is None:
                count = chosen.target(shape)
                if count is None:
                    raise PatternError(f"sparsity: expected a number for the pattern {pattern}, got None")
            else:
                count = nearest_count(chosen.counts(shape), (1 - sparsity) * shape[0] * shape[1])
            mask = chosen.mask(torch.rand(shape, generator=generator), count)
            masks[name] = from_matrix(mask, tuple(weight.shape))
            weight.mul_(masks[name] * (max(count, 1) / mask.numel()) ** -0.5)
    return masks


def _protection(model: nn.Module) -> Protection:
    """Stem and head stay dense where something is left between them; a token embedding is the stem of its network."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = sum(isinstance(module, kinds) for module in model.modules())
    if layers <= 2:
        return Protection(first=False, last=False)
    first = next(module for module in model.modules() if isinstance(module, (*kinds, nn.Embedding)))
    return Protection(first=not isinstance(first, nn.Embedding))
