"""Memory of a training run by kind: predicted from counts before a weight exists, and measured on the tensors that do.

`weight_bytes.py` has the formula for one weight; here are whole runs, with biases, norms, optimizer and activations.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.errors import EngineError
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.engine import Sparsifier
from gossamer.training.layers import find_weights, unwrap
from gossamer.training.optimizer_state import number_bytes, rule_of
from gossamer.training.weight_bytes import Memory, Storage, block_of, layer_memory

__all__ = ["Memory", "Storage", "measured_memory", "predicted_memory"]


def predicted_memory(
    model: nn.Module,
    optimizer: Optimizer,
    counts: Mapping[str, int],
    *,
    storage: Storage,
    pattern: str = "unstructured",
    counts_births: bool = False,
    activations: int = 0,
) -> Memory:
    """Bytes of a run of `model`, dense or compact: `counts` are the held entries of every weight that is stored sparse, the rest is dense.

    The model and its optimizer may be on the meta device: nothing is computed. `activations` is added as it comes (`activation_bytes`).

    >>> model = nn.Linear(64, 32)
    >>> predicted_memory(model, __import__("torch").optim.Adam(model.parameters()), {"weight": 205}, storage="compact").to_dict()
    {'weights': 948, 'gradients': 948, 'optimizer': 1904, 'indices': 2018, 'activations': 0, 'total': 5818}
    """
    rule, block, total = rule_of(optimizer), block_of(pattern), Memory(activations=activations)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    slots = find_weights(model)
    names = {id(slot.weight): name for name, slot in slots.items()}
    unknown = sorted(set(counts) - set(slots))
    if unknown:
        raise EngineError(
            f"counts: expected names of linear and convolution weights of the dense model, got {unknown[0]!r}"
        )
    for parameter in unwrap(model).parameters():
        name, trains = names.get(id(parameter), ""), parameter.requires_grad
        group = groups.get(id(parameter)) if trains else None
        shape = slots[name].shape if name else tuple(parameter.shape)
        rows = shape[0] if len(shape) > 1 else 1
        total += layer_memory(
            (rows, math.prod(shape) // rows if rows else 0),
            counts.get(name, math.prod(shape)),
            storage=storage if name in counts else "dense",
            states=rule.per_weight(group) if group is not None else 0,
            value_bytes=parameter.element_size(),
            block=block,
            trains=trains,
            counts_births=counts_births,
            linear=len(shape) == 2,
        )
        if group is not None:
            total += Memory(optimizer=rule.per_tensor * number_bytes())
    return total + Memory(weights=_nbytes(_buffers(model)))


def measured_memory(
    model: nn.Module,
    optimizer: Optimizer | None = None,
    sparsifier: Sparsifier | None = None,
    *,
    activations: int = 0,
) -> Memory:
    """Bytes of the tensors that exist now: after a step all of them do. Tied tensors count once.

    A compact layer counts what its kernels have prepared: by column only where the gradient of its input is needed.

    Not counted is what passes by: temporary tensors, and the copy of loaded weights that a Sparsifier keeps until the next step.
    """
    parameters = list(unwrap(model).parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    masks, births = (0, 0) if sparsifier is None else sparsifier.held_bytes()
    places = sum(module.index_bytes for module in unwrap(model).modules() if isinstance(module, CompactLayer))
    return Memory(
        weights=_nbytes([*parameters, *_buffers(model)]),
        gradients=_nbytes(gradients),
        optimizer=_nbytes(_tensors_in(optimizer.state)) + births if optimizer is not None else births,
        indices=masks + places,
        activations=activations,
    )


def _buffers(model: nn.Module) -> list[Tensor]:
    """All but the places of compact layers, which are indices."""
    modules = (module for module in unwrap(model).modules() if not isinstance(module, CompactLayer))
    return [buffer for module in modules for buffer in module.buffers(recurse=False)]


def _tensors_in(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for inner in value.values() for tensor in _tensors_in(inner)]
    if isinstance(value, (list, tuple)):
        return [tensor for inner in value for tensor in _tensors_in(inner)]
    return []


def _nbytes(tensors: list[Tensor]) -> int:
    """Bytes of tensors, each memory once: a view counts with the elements that it shows, two names of one tensor are one."""
    sizes: dict[tuple[object, ...], int] = {}
    for tensor in tensors:
        sizes[(str(tensor.device), tensor.data_ptr() or id(tensor))] = (
            math.prod(tensor.shape) * tensor.element_size()
        )
    return sum(sizes.values())
