"""The weights of a model that can be masked, those that are left dense, and why.

Counted are the weights of all linear and convolution layers, the projections inside attention and the matrices of recurrent layers.
Of these, the engine masks all that are not protected, that the pattern fits, and that are plain parameters of their module. Names are
those of the dense model: `torch.compile` and data-parallel wrappers leave no trace in them.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from gossamer.errors import EngineError, PatternError
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.patterns import Pattern
from gossamer.sparsity.view import matrix_shape
from gossamer.training.protection import Protection, is_exact, matches

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WRAPPERS = (nn.parallel.DistributedDataParallel, nn.DataParallel, torch.optim.swa_utils.AveragedModel)


@runtime_checkable
class HoldsValues(Protocol):
    """A compact layer: its parameter is the kept values of a weight, its buffer their places."""

    values: nn.Parameter
    places: torch.Tensor
    pattern: str

    @property
    def weight_shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in the model that holds a weight. The parameter is asked for anew each time: loaders and wrappers may replace it."""

    name: str  # as in the state_dict of the dense model
    module: nn.Module
    attribute: str

    @property
    def weight(self) -> torch.Tensor:
        """The parameter; of a compact layer its values."""
        tensor: torch.Tensor = getattr(self.module, self.attribute)
        return tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dense weight."""
        return tuple(self.module.weight_shape if isinstance(self.module, HoldsValues) else self.weight.shape)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The weights of a model in order of `named_modules()`: `masked`, and the dense ones with the reason."""

    masked: dict[str, Slot]
    dense: dict[str, tuple[Slot, str]]

    @property
    def reasons(self) -> dict[str, str]:
        """Of the dense ones."""
        return {name: reason for name, (_, reason) in self.dense.items()}

    @property
    def compact(self) -> bool:
        """True for a model with compact layers: these are what is masked."""
        return any(isinstance(slot.module, HoldsValues) for slot in self.masked.values())


def unwrap(model: nn.Module) -> nn.Module:
    """The dense model inside torch.compile, DistributedDataParallel, DataParallel and AveragedModel."""
    while True:
        inner = model._modules.get("_orig_mod") if type(model).__name__ == "OptimizedModule" else None
        if inner is None and isinstance(model, _WRAPPERS):
            inner = model.module
        if inner is None:
            return model
        model = inner


def find_weights(model: nn.Module) -> dict[str, Slot]:
    """All weights that count in the sparsity of the network, by name.

    >>> list(find_weights(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))))
    ['0.weight', '3.weight']
    """
    slots: dict[str, Slot] = {}
    for prefix, module in unwrap(model).named_modules():
        if prefix.split(".")[-1] != "_orig_mod" and "_orig_mod" in module._modules:
            continue  # a compiled part: its inner module comes next, under the same name once cleaned
        path = ".".join(part for part in prefix.split(".") if part and part != "_orig_mod")
        for attribute in _weight_attributes(module):
            weight = "weight" if isinstance(module, HoldsValues) else attribute
            name = f"{path}.{weight}" if path else weight
            slots[name] = Slot(name=name, module=module, attribute=attribute)
    return slots


def shapes_of(model: nn.Module, reasons: Mapping[str, str]) -> dict[str, LayerShape]:
    """All weights that count, by name and in network order; `reasons` are those of the weights that stay dense.

    >>> shapes_of(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), {"1.weight": "last layer"})["1.weight"]
    LayerShape(weight=(2, 3), positions=1, dense='last layer')
    """
    return {
        name: LayerShape(weight=slot.shape, dense=reasons.get(name))
        for name, slot in find_weights(model).items()
    }


def choose(model: nn.Module, pattern: Pattern, protect: Protection, layers: Sequence[str] | None) -> Chosen:
    """Which weights of `model` are masked; of a model with compact layers all of these (`compact_` has chosen them).

    `layers` (weight or module names; wildcards allowed) narrows the choice. A weight named there exactly is wanted by the user: it is
    masked even if it is first, last or depthwise, and an error says so if the pattern does not fit it.
    """
    if isinstance(layers, str):
        raise EngineError(
            f"layers: expected a list of names, got the string {layers!r}; write layers=[{layers!r}]"
        )
    slots = find_weights(model)
    for where, patterns in (("layers", layers or ()), ("Protection(names=…)", protect.names)):
        for wanted in patterns:
            if not any(matches(wanted, name) for name in slots):
                raise _nothing_matches(where, wanted, slots)
    if any(isinstance(slot.module, HoldsValues) for slot in slots.values()):
        return _compact(slots, pattern, protect, layers)
    exact = {name for name in slots for wanted in layers or () if is_exact(wanted) and matches(wanted, name)}
    clash = [name for name in exact for wanted in protect.names if is_exact(wanted) and matches(wanted, name)]
    if clash:
        raise EngineError(
            f"{clash[0]!r} is named both in layers and in Protection(names=…): expected one of the two"
        )

    names = list(slots)
    masked: dict[str, Slot] = {}
    dense: dict[str, tuple[Slot, str]] = {}
    for name, slot in slots.items():
        position_first, position_last = name == names[0], name == names[-1]
        reason = _why_dense(slot, pattern)
        if layers is not None and not any(matches(wanted, name) for wanted in layers):
            dense[name] = (slot, "not named in layers")
        elif name in exact:
            if reason:
                raise PatternError(
                    f"{name!r} is named in layers but cannot be masked with {pattern}: {reason}"
                )
            masked[name] = slot
        elif any(matches(wanted, name) for wanted in protect.names):
            dense[name] = (slot, "protected by name")
        elif protect.first and position_first:
            dense[name] = (slot, "protected: first layer")
        elif protect.last and position_last:
            dense[name] = (slot, "protected: last layer")
        elif protect.depthwise and _is_depthwise(slot):
            dense[name] = (slot, "protected: depthwise")
        elif reason:
            dense[name] = (slot, reason)
        else:
            masked[name] = slot
    if not masked:
        listed = (
            "; ".join(f"{name}: {reason}" for name, (_, reason) in dense.items())
            or "the model has no such layer"
        )
        raise EngineError(
            f"expected at least one linear or convolution weight that can be masked, got none ({listed}); change the pattern, or protect= "
            "(for example Protection(first=False, last=False)) or layers= of the Sparsifier, or protect: in a recipe"
        )
    _refuse_shared(model, masked)
    return Chosen(masked=masked, dense=dense)


def _compact(
    slots: dict[str, Slot], pattern: Pattern, protect: Protection, layers: Sequence[str] | None
) -> Chosen:
    """Of a model with compact layers these are edited: which they are was chosen when they were made."""
    masked, dense = {}, {}
    for name, slot in slots.items():
        if not isinstance(slot.module, HoldsValues):
            dense[name] = (slot, "dense beside compact layers")
            continue
        unnamed = layers is not None and not any(matches(wanted, name) for wanted in layers)
        if unnamed or any(matches(wanted, name) for wanted in protect.names):
            raise EngineError(
                f"{name!r} is compact, and {'layers= leaves it out' if unnamed else 'Protection(names=…) names it'}: of a model with "
                "compact layers all of them are edited; expected layers= and protect= as compact_ had them, or none"
            )
        if slot.module.pattern != str(pattern):
            raise EngineError(
                f"{name!r} is compact with the pattern {slot.module.pattern}, and the method has {pattern}: expected one pattern; "
                "make the layers by compact_(model, method)"
            )
        masked[name] = slot
    return Chosen(masked=masked, dense=dense)


def _weight_attributes(module: nn.Module) -> tuple[str, ...]:
    if isinstance(module, (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)):
        return ("weight",)
    if isinstance(module, HoldsValues):
        return ("values",)
    if isinstance(module, nn.MultiheadAttention):
        projections = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        return tuple(name for name in projections if getattr(module, name, None) is not None)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return tuple(name for name in module._parameters if name.startswith("weight"))
    return ()


def _is_depthwise(slot: Slot) -> bool:
    module = slot.module
    return isinstance(module, _CONVOLUTIONS) and module.groups > 1 and module.groups == module.in_channels


def _why_dense(slot: Slot, pattern: Pattern) -> str:
    """The reason why this weight cannot be masked with this pattern; empty if it can."""
    if isinstance(slot.module, _TRANSPOSED):
        return "transposed convolution: its weight lists inputs before outputs"
    weight = slot.module._parameters.get(slot.attribute)
    if weight is None:
        return "its weight is computed by a parametrization, not stored as a parameter"
    if isinstance(weight, nn.parameter.UninitializedParameter):
        raise EngineError(
            f"{slot.name!r} has no shape yet; run one batch through the model before making the Sparsifier"
        )
    if type(weight.data).__name__ == "DTensor" or type(weight).__name__ == "DTensor":
        raise EngineError(
            f"{slot.name!r} is sharded (DTensor): expected whole weights on every rank; use DistributedDataParallel, or make the "
            "Sparsifier without sharding"
        )
    try:
        shape = tuple(weight.shape)
        pattern.for_weight(shape).counts(matrix_shape(shape))
    except PatternError as error:
        return str(error).split(";")[0]
    return ""


def _refuse_shared(model: nn.Module, masked: dict[str, Slot]) -> None:
    """A weight with two names would need one mask for two roles."""
    uses: dict[int, list[str]] = {}
    for name, parameter in unwrap(model).named_parameters(remove_duplicate=False):
        uses.setdefault(id(parameter), []).append(name.replace("_orig_mod.", ""))
    for name, slot in masked.items():
        names = sorted(set(uses.get(id(slot.weight), ())))
        if len(names) > 1:
            others = " and ".join(repr(other) for other in names if other != name)
            raise EngineError(
                f"{name!r} is tied: it is the same parameter as {others}, and one mask cannot serve two roles; leave it dense "
                f"with Protection(names=({name!r},)), or untie it"
            )


def _nothing_matches(where: str, wanted: str, slots: dict[str, Slot]) -> EngineError:
    known = sorted({*slots, *(name.rpartition(".")[0] for name in slots)} - {""})
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.4) or known[:3]
    return EngineError(
        f"{where}: {wanted!r} names no linear or convolution weight of this model; nearest: {', '.join(map(repr, near))} "
        "(a module name without wildcard does not include what lies below it: write 'name.*')"
    )
