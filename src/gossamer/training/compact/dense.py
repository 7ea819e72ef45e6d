"""From compact layers back to dense ones: in place, or as a state_dict with the dense keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from gossamer.training.compact.conv import SparseConv2d
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.compact.linear import SparseLinear


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


def _compact_layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, SparseLinear | SparseConv2d]]:
    for parent in list(model.modules()):
        for child, layer in list(parent._modules.items()):
            if isinstance(layer, (SparseLinear, SparseConv2d)):
                yield parent, child, layer
