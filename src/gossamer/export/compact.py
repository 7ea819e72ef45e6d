"""Layers of `gossamer.training.compact` in a captured program: their kept entries go into the file, a dense weight is never made.

While torch.export looks at the model, each compact layer is replaced by the torch layer in whose place it stands, so that it is captured,
lowered and folded as that layer is. The weight of the stand-in is one zero, seen at every place (strides of 0); lowering takes the kept
entries instead. Nothing is registered with torch, and training pays nothing for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from gossamer.export.weight import Places, Weight
from gossamer.training.compact import CompactLayer
from gossamer.training.compact.dense import hand_over_hooks


def compact_layers(model: nn.Module) -> dict[str, CompactLayer]:
    """Every compact layer by the full name that its weight has in the dense model; a shared one under all of its names."""
    return {
        f"{path}.weight" if path else "weight": module
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, CompactLayer)
    }


@contextmanager
def stand_ins(root: nn.Module) -> Iterator[None]:
    """Every compact layer below `root` replaced by its stand-in."""
    places = [
        (parent, child, layer)
        for parent in root.modules()
        for child, layer in parent._modules.items()
        if isinstance(layer, CompactLayer)
    ]
    made: dict[int, nn.Module] = {id(layer): _stand_in(layer) for _, _, layer in places}
    try:
        for parent, child, layer in places:
            parent._modules[child] = made[id(layer)]
        yield
    finally:
        for parent, child, layer in places:
            parent._modules[child] = layer


def _stand_in(layer: CompactLayer) -> nn.Module:
    dense = layer.to_dense(torch.zeros((), dtype=layer.values.dtype).expand(layer.weight_shape))
    hand_over_hooks(layer, dense)
    return dense


def kept_weight(name: str, layer: CompactLayer) -> Weight:
    """The kept values of a layer in the order of their slots; what its capacity leaves over stays behind."""
    slots = layer.positions()
    values = layer.values.detach()[: slots.numel()]
    if layer.where.unit > 1:  # block after block
        slots, order = slots.sort()
        values = values[order]
    matrix = layer.where.matrix
    return Weight(
        name=name,
        values=values.to(torch.float32).numpy().copy(),
        places=Places(shape=matrix, slots=slots.numpy().astype(np.int64), pattern=layer.pattern),
    )
