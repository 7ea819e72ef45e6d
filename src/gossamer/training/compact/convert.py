"""From a dense model to compact layers, in place; the way back is `dense.py`.

`compact_` chooses the layers that a Sparsifier would mask, and gives them the masks that it would begin with: the edits of the method at
step 0, with the same draws. A model on the meta device is materialised layer by layer, so that a dense weight never exists.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.errors import EngineError, PatternError
from gossamer.sparsity.growth import All
from gossamer.sparsity.patterns import Pattern, parse_pattern
from gossamer.sparsity.view import as_matrix
from gossamer.training.compact.conv import SparseConv2d
from gossamer.training.compact.dense import hand_over_hooks
from gossamer.training.compact.entries import refused_growth
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.compact.linear import SparseLinear
from gossamer.training.compact.meta import is_meta, materialise
from gossamer.training.compact.report import CompactReport, CompactRow
from gossamer.training.compact.starting import dense_matrix_of, starting_positions
from gossamer.training.counting import check_reachable
from gossamer.training.edits import Shapes
from gossamer.training.foresight import peak_counts
from gossamer.training.guard import owners_of
from gossamer.training.heap import trim
from gossamer.training.layers import Slot, choose, shapes_of, unwrap
from gossamer.training.methods import Method, Static
from gossamer.training.methods.method import edit_steps_of
from gossamer.training.protection import Protection


@runtime_checkable
class Sparsified(Protocol):
    """What has masks by weight name, such as a Sparsifier."""

    @property
    def masks(self) -> Mapping[str, Tensor]: ...


def compact_(
    model: nn.Module,
    method: Method | float | None = None,
    *,
    seed: int = 0,
    protect: Protection | None = None,
    layers: Sequence[str] | None = None,
    pattern: str | None = None,
    allocation: str | None = None,
    initial: str | None = None,
    masks: Mapping[str, Tensor] | Sparsified | None = None,
) -> CompactReport:
    """Replaces the linear and 2-d convolution layers of `model` by compact ones, in place: make the optimizer afterwards.

    `method` is the method that a Sparsifier will run, or a sparsity (then the masks stay as they are: `Static`, with `pattern`,
    `allocation` and `initial`). `seed`, `protect` and `layers` are as in the Sparsifier, and give the same masks as there. A layer has room
    for the method's peak. Layers that cannot be compact stay dense; the report lists them with the reason.

    `masks` (of a model that was trained masked, or its finalized Sparsifier) are taken in place of a method; `pattern` is theirs.

    >>> model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    >>> report = compact_(model, 0.6)
    >>> [type(layer).__name__ for layer in model], report.left_dense[0].reason
    (['Linear', 'ReLU', 'SparseLinear', 'ReLU', 'Linear'], 'protected: first layer')
    """
    _check_model(model)
    given = masks.masks if isinstance(masks, Sparsified) else masks
    if given is not None:
        if method is not None or initial is not None or allocation is not None or layers is not None:
            raise EngineError(
                "compact_: expected masks= alone (with pattern=), got a method or layers as well"
            )
        method, layers = Static(pattern=pattern or "unstructured", initial="given"), list(given)
    else:
        method = _as_method(method, pattern=pattern, allocation=allocation, initial=initial)
    legal = parse_pattern(method.pattern)
    chosen = choose(model, legal, protect or Protection(), layers)
    _refuse_owned(chosen.masked)
    reasons = chosen.reasons
    for name, slot in chosen.masked.items():
        reason = _why_not(model, slot)
        if reason:
            reasons[name] = reason
    slots = {name: slot for name, slot in chosen.masked.items() if name not in reasons}
    if not slots:
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise EngineError(f"compact_: expected at least one layer that can be compact, got none ({listed})")
    shapes = shapes_of(model, reasons)
    check_reachable(method, legal, shapes)
    meta = is_meta(model)
    weights = {name: dense_matrix_of(slot.weight) for name, slot in slots.items()}
    if given is None:
        places = starting_positions(method, legal, shapes, weights, seed)
    else:
        places = {name: _positions(name, given[name], shapes[name].weight, legal) for name in slots}
    capacities = _capacities(method, shapes)
    _warn_of_optimizers(slots)
    generator = torch.Generator().manual_seed(seed)
    for name, slot in slots.items():
        _replace(model, slot, places.pop(name), capacities.get(name), legal, generator)
    _leave_fast_path(model)
    if meta:
        materialise(model)
    trim(max(shapes[name].numel for name in slots))
    return _report(model, shapes)


def _check_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise EngineError(f"compact_: expected a torch.nn.Module, got {type(model).__name__}")
    if model is not unwrap(model):
        raise EngineError(
            f"compact_: expected the plain model, got a {type(model).__name__} around it; compact_ first, wrap or compile it afterwards"
        )
    if any(isinstance(module, CompactLayer) for module in model.modules()):
        raise EngineError(
            "compact_: expected a dense model, got one with compact layers; call it once, or to_dense(model) first"
        )


def _warn_of_optimizers(slots: Mapping[str, Slot]) -> None:
    """An optimizer from before holds weights that the model is about to lose: its steps would pass over the compact ones in silence."""
    names = {id(slot.weight): name for name, slot in slots.items()}
    for found in gc.get_objects():
        if Optimizer in type(found).__mro__:
            held = [
                names[id(p)]
                for group in getattr(found, "param_groups", ())
                for p in group["params"]
                if id(p) in names
            ]
            if held:
                warnings.warn(
                    f"compact_: {type(found).__name__} holds {held[0]!r} and {len(held) - 1} other dense weights, which the model "
                    "loses: it would not train the compact layers, and keeps memory; make a new optimizer after compact_, and drop this",
                    RuntimeWarning,
                    stacklevel=3,
                )


def _positions(name: str, mask: Tensor, shape: tuple[int, ...], pattern: Pattern) -> Tensor:
    """Of a given mask, if it is one of this weight and legal."""
    if mask.dtype != torch.bool or tuple(mask.shape) != shape:
        raise EngineError(
            f"masks: expected a bool mask of {name!r} of shape {shape}, got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    try:
        pattern.for_weight(shape).check(as_matrix(mask))
    except PatternError as error:
        raise PatternError(f"masks: {name!r}: {error}") from None
    return as_matrix(mask).flatten().nonzero().flatten().cpu()


def _refuse_owned(slots: Mapping[str, Slot]) -> None:
    for name, slot in slots.items():
        if owners_of(slot):
            raise EngineError(
                f"compact_: {name!r} belongs to a Sparsifier, whose weights would vanish: expected a finalized one; finalize() it, then "
                "compact_(model, masks=sparsifier)"
            )


def _as_method(method: Any, **choices: str | None) -> Method:
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
            "compact_: expected initial='random' or 'magnitude', got 'given'; masks of your own are given alone, compact_(model, masks=…)"
        )
    found: Method = method
    return found


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


def _capacities(method: Method, shapes: Shapes) -> dict[str, int]:
    """The method's peaks; nothing for masks that stay as they begin."""
    if method.last_edit == 0:
        return {}
    who = type(method).__name__
    if method.initial == "dense":
        raise EngineError(
            f"compact_: {who} begins with dense weights, so nothing would be saved: expected a method that begins sparse (Static, SET, "
            "MEST); train this one masked, and compact_ the model when it is sparse"
        )
    for step in edit_steps_of(method):
        for edit in method.edits_at(step):
            if isinstance(edit.grow_by, All):
                raise refused_growth(edit.grow_by)
    return peak_counts(method, shapes, exact=True)


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


def _leave_fast_path(model: nn.Module) -> None:
    """In eval mode torch's transformer encoder hands `linear1.weight` to one fused call, if these say that it may."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and any(
            isinstance(layer, CompactLayer) for layer in module.children()
        ):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


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
