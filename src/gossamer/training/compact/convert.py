"""From a dense model to compact layers and back, in place.

`compact_` chooses the layers that a Sparsifier would mask, and gives them the masks that it would begin with: the edits of the method at
step 0, with the same draws. A model on the meta device is materialised layer by layer, so that a dense weight never exists.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.errors import EngineError
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.growth import All
from gossamer.sparsity.patterns import Pattern, parse_pattern
from gossamer.training.compact.conv import SparseConv2d
from gossamer.training.compact.counts import peak_counts
from gossamer.training.compact.entries import refused_growth
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.compact.linear import SparseLinear
from gossamer.training.compact.meta import is_meta, materialise
from gossamer.training.compact.report import CompactReport, CompactRow
from gossamer.training.compact.starting import dense_matrix_of, starting_positions
from gossamer.training.edits import Shapes
from gossamer.training.layers import Slot, choose, find_weights, unwrap
from gossamer.training.methods import Method, Static
from gossamer.training.protection import Protection


def compact_(
    model: nn.Module,
    method: Method | float,
    *,
    seed: int = 0,
    protect: Protection | None = None,
    layers: Sequence[str] | None = None,
    pattern: str | None = None,
    allocation: str | None = None,
    initial: str | None = None,
) -> CompactReport:
    """Replaces the linear and 2-d convolution layers of `model` by compact ones, in place: make the optimizer afterwards.

    `method` is the method that a Sparsifier will run, or a sparsity (then the masks stay as they are: `Static`, with `pattern`,
    `allocation` and `initial`). `seed`, `protect` and `layers` are as in the Sparsifier, and give the same masks as there. A layer has room
    for the method's peak. Layers that cannot be compact stay dense; the report lists them with the reason.

    >>> model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    >>> report = compact_(model, 0.6)
    >>> [type(layer).__name__ for layer in model], report.left_dense[0].reason
    (['Linear', 'ReLU', 'SparseLinear', 'ReLU', 'Linear'], 'protected: first layer')
    """
    method = _as_method(method, pattern=pattern, allocation=allocation, initial=initial)
    if model is not unwrap(model):
        raise EngineError(
            f"compact_: expected the plain model, got a {type(model).__name__} around it; compact_ first, wrap or compile it afterwards"
        )
    legal = parse_pattern(method.pattern)
    chosen = choose(model, legal, protect or Protection(), layers)
    reasons = {name: reason for name, (_, reason) in chosen.dense.items()}
    for name, slot in chosen.masked.items():
        reason = _why_not(model, slot)
        if reason:
            reasons[name] = reason
    slots = {name: slot for name, slot in chosen.masked.items() if name not in reasons}
    if not slots:
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise EngineError(f"compact_: expected at least one layer that can be compact, got none ({listed})")
    shapes = {
        name: LayerShape(weight=tuple(slot.weight.shape), dense=reasons.get(name))
        for name, slot in find_weights(model).items()
    }
    meta = is_meta(model)
    weights = {name: dense_matrix_of(slot.weight) for name, slot in slots.items()}
    places = starting_positions(method, legal, shapes, weights, seed)
    capacities = _capacities(method, legal, shapes)
    generator = torch.Generator().manual_seed(seed)
    for name, slot in slots.items():
        _replace(model, slot, places.pop(name), capacities.get(name), legal, generator)
    _leave_fast_path(model)
    if meta:
        materialise(model)
    return _report(model, shapes)


def to_dense(model: nn.Module) -> nn.Module:
    """Replaces every compact layer of `model` by its dense form, in place; also of a model that is a compact layer itself. Returns it.

    >>> to_dense(SparseLinear(4, 2, num_kept=3))
    Linear(in_features=4, out_features=2, bias=True)
    """
    if isinstance(model, (SparseLinear, SparseConv2d)):
        return model.to_dense()
    made: dict[CompactLayer, nn.Module] = {}  # a layer that is used twice stays one
    for parent, child, layer in _compact_layers(model):
        if layer not in made:
            made[layer] = layer.to_dense()
            hand_over_hooks(layer, made[layer])
        setattr(parent, child, made[layer])
    return model


def dense_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict of the dense form of `model`: `weight` in place of values and places. The model stays as it is."""
    return dict(DenseState(model))


class DenseState(Mapping[str, Tensor]):
    """The same, but each dense weight is made when it is asked for: whoever writes them one by one holds one at a time.

    >>> state = DenseState(nn.Sequential(SparseLinear(4, 2, num_kept=3)))
    >>> list(state), state["0.weight"].count_nonzero()
    (['0.weight', '0.bias'], tensor(3))
    """

    def __init__(self, model: nn.Module) -> None:
        layers = {
            f"{path}." if path else "": layer
            for path, layer in model.named_modules(remove_duplicate=False)
            if isinstance(layer, CompactLayer)
        }
        self._found: dict[str, Tensor | CompactLayer] = {}
        for key, tensor in model.state_dict().items():
            prefix, own = key[: key.rfind(".") + 1], key[key.rfind(".") + 1 :]
            if prefix in layers and own == "values":
                self._found[f"{prefix}weight"] = layers[prefix]
            elif not (prefix in layers and own == "places"):
                self._found[key] = tensor

    def __getitem__(self, name: str) -> Tensor:
        found = self._found[name]
        return found.dense_weight() if isinstance(found, CompactLayer) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _as_method(method: Method | float, **choices: str | None) -> Method:
    given = {name: choice for name, choice in choices.items() if choice is not None}
    if isinstance(method, (int, float)):
        return Static(sparsity=float(method), **given)
    if isinstance(method, type) or not hasattr(method, "edits_at"):
        raise EngineError(
            f"compact_: expected a sparsity such as 0.9 or a method such as SET(sparsity=0.9), got {method!r}"
        )
    if given:
        raise EngineError(f"compact_: expected {', '.join(given)} in the method, got both; write them there")
    if method.initial == "given":
        raise EngineError(
            "compact_: expected initial='random' or 'magnitude', got 'given'; make layers with positions=… for places of your own"
        )
    return method


def _why_not(model: nn.Module, slot: Slot) -> str:
    """The reason why a layer that can be masked cannot be compact; empty if it can."""
    module = slot.module
    if slot.module is model:
        return "it is the model itself, which has no place for another layer"
    if type(module) not in (nn.Linear, nn.Conv2d):
        return f"{type(module).__name__} has no compact form; nn.Linear and nn.Conv2d have"
    if hasattr(module, "parametrizations"):
        return "its weight or bias is parametrized"
    if slot.weight.dtype not in (torch.float32, torch.float64):
        return f"its weight is {slot.weight.dtype}; compact layers are float32 or float64"
    if slot.weight.device.type not in ("cpu", "meta"):
        return f"its weight is on {slot.weight.device}: on CUDA training is masked"
    return ""


def _capacities(method: Method, pattern: Pattern, shapes: Shapes) -> dict[str, int]:
    """The method's peaks; nothing for masks that stay as they begin."""
    if method.last_edit == 0:
        return {}
    who = type(method).__name__
    if method.initial == "dense":
        raise EngineError(
            f"compact_: {who} begins with dense weights, so nothing would be saved: expected a method that begins sparse (Static, SET, "
            "MEST); train this one masked, and compact_ the model when it is sparse"
        )
    for step in range(method.last_edit + 1):
        for edit in method.edits_at(step):
            if isinstance(edit.grow_by, All):
                raise refused_growth(edit.grow_by)
    return peak_counts(method, pattern, shapes)


def _replace(
    model: nn.Module,
    slot: Slot,
    positions: Tensor,
    capacity: int | None,
    pattern: Pattern,
    generator: torch.Generator,
) -> None:
    dense: Any = slot.module
    weight, bias = slot.weight, dense.bias
    seed = int(torch.randint(1 << 62, (), generator=generator))
    common: dict[str, Any] = {
        "positions": positions,
        "capacity": len(positions) if capacity is None else capacity,
        "pattern": str(pattern),
        "seed": seed,
        "dtype": weight.dtype,
    }
    layer: CompactLayer
    if isinstance(dense, nn.Conv2d):
        layer = SparseConv2d(dense, **common)
    else:
        layer = SparseLinear(dense.in_features, dense.out_features, bias is not None, **common)
    if not weight.is_meta:
        layer.take(weight)
    layer.values.requires_grad_(weight.requires_grad)
    if layer.bias is not None:
        if not bias.is_meta:
            layer.bias.data.copy_(bias.detach())
        layer.bias.requires_grad_(bias.requires_grad)
    hand_over_hooks(dense, layer.train(dense.training))
    path, _, child = slot.name.rpartition(".")[0].rpartition(".")
    setattr(model.get_submodule(path), child, layer)


def hand_over_hooks(old: nn.Module, new: nn.Module) -> None:
    """Forward and backward hooks that a user has placed on a layer stay with its place in the model."""
    for kind in (
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_backward_hooks",
        "_backward_pre_hooks",
    ):
        setattr(new, kind, getattr(old, kind))


def _leave_fast_path(model: nn.Module) -> None:
    """In eval mode torch's transformer encoder hands `linear1.weight` to one fused call, if these say that it may."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and any(
            isinstance(layer, CompactLayer) for layer in module.children()
        ):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def _compact_layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, SparseLinear | SparseConv2d]]:
    for parent in list(model.modules()):
        for child, layer in list(parent._modules.items()):
            if isinstance(layer, (SparseLinear, SparseConv2d)):
                yield parent, child, layer


def _report(model: nn.Module, shapes: Shapes) -> CompactReport:
    rows, larger = [], []
    for name, shape in shapes.items():
        path = name.rpartition(".")[0]
        layer = model.get_submodule(path)
        if shape.dense is None and isinstance(layer, CompactLayer):
            size = layer.values.element_size()
            nbytes = layer.values.numel() * size + layer.places.numel()
            entry = size + layer.where.index_type.itemsize / layer.where.unit
            if nbytes > shape.numel * size:
                larger.append(
                    f"{name} ({layer.capacity / shape.numel:.0%} kept, break-even at {size / entry:.0%})"
                )
            kept, capacity = layer.num_kept, layer.capacity
        else:
            kept, capacity, nbytes = shape.numel, shape.numel, shape.numel * 4
        rows.append(
            CompactRow(
                name=name,
                shape=shape.weight,
                size=shape.numel,
                num_kept=kept,
                capacity=capacity,
                nbytes=nbytes,
                reason=shape.dense or "",
            )
        )
    notes: tuple[str, ...] = ()
    if larger:
        note = f"larger than dense: {', '.join(larger)}; leave them dense with protect=Protection(names=…), or raise the sparsity"
        warnings.warn(f"compact_: {note}", RuntimeWarning, stacklevel=3)
        notes = (note,)
    return CompactReport(rows=tuple(rows), notes=notes)
