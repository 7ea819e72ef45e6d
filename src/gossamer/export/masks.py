"""Masks as the user gives them, matched with the parameters of the model."""

import difflib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gossamer.errors import ExportError
from gossamer.export.compact import compact_layers
from gossamer.export.subject import plain_name
from gossamer.sparsity.view import as_matrix
from gossamer.training.compact import CompactLayer


def resolve_masks(
    model: nn.Module, masks: Mapping[str, object] | None
) -> tuple[dict[str, Tensor], list[str]]:
    """Masks by the parameters' full names, and notes. A mask of a tied parameter stands under all of its
    names. Compact layers have none: their places decide, and a mask for one must be these places."""
    compact = {plain_name(name): layer for name, layer in compact_layers(model).items()}
    if masks is None:
        return {}, [] if compact else ["no masks were given: zeros of the weights count as absent"]
    parameters = dict(model.named_parameters(remove_duplicate=False))
    by_plain_name = {plain_name(name): parameter for name, parameter in parameters.items()}
    by_identity: dict[int, Tensor] = {}
    for name, mask in masks.items():
        layer = compact.get(plain_name(name))
        if layer is not None:
            _check_places(name, mask, layer)
            continue
        parameter = by_plain_name.get(plain_name(name))
        if parameter is None:
            close = difflib.get_close_matches(name, by_plain_name, n=3, cutoff=0.5)
            hint = (
                f"nearest: {', '.join(close)}"
                if close
                else f"it has {', '.join(list(by_plain_name)[:6])}, ..."
            )
            raise ExportError(
                f"mask {name!r}: expected the name of a parameter of {type(model).__name__}; {hint}"
            )
        if not isinstance(mask, Tensor):
            raise ExportError(
                f"mask {name!r}: expected a bool tensor, got {type(mask).__name__}; torch.from_numpy converts arrays"
            )
        if mask.dtype != torch.bool:
            raise ExportError(
                f"mask {name!r}: expected bool (True = kept), got {str(mask.dtype).removeprefix('torch.')}"
            )
        if mask.shape != parameter.shape:
            raise ExportError(
                f"mask {name!r}: expected the weight's shape {list(parameter.shape)}, got {list(mask.shape)}"
            )
        known = by_identity.setdefault(id(parameter), mask)
        if known is not mask and not torch.equal(known, mask):
            raise ExportError(
                f"mask {name!r}: expected one mask for a weight that two layers share, got two that differ"
            )
    return {n: by_identity[id(p)].detach() for n, p in parameters.items() if id(p) in by_identity}, []


def of_dense_layers(masks: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Masks of a Sparsifier without those of compact layers, which are not even asked for: they would be made dense."""
    compact = {plain_name(name) for name in compact_layers(model)}
    return {name: masks[name] for name in masks if plain_name(name) not in compact}


def _check_places(name: str, mask: object, layer: CompactLayer) -> None:
    """ExportError unless the mask is what the layer keeps."""
    fits = isinstance(mask, Tensor) and mask.dtype == torch.bool and tuple(mask.shape) == layer.weight_shape
    if fits:
        assert isinstance(mask, Tensor)
        kept = as_matrix(mask).flatten()[layer.positions()]
        fits = bool(kept.all()) and int(mask.sum()) == layer.num_kept
    if not fits:
        raise ExportError(
            f"mask {name!r}: expected no mask for a compact layer, or one of exactly what it keeps ({layer.num_kept} of "
            f"{list(layer.weight_shape)}); its places decide"
        )
