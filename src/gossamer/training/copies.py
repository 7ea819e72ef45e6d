"""Averaged copies of the weights (EMA) that a user registers, so that they obey the masks too.

A copy is asked for its tensors anew at every step, because averages are often written as `ema[name] = 0.9 * ema[name] + ...`, which makes
new tensors, and because a module may be moved or loaded.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from gossamer.errors import EngineError
from gossamer.training.layers import Slot, find_weights

Average = nn.Module | Mapping[str, Tensor]


@dataclass(frozen=True)
class Copy:
    """One averaged copy: functions from a weight's name to its tensors of now. `places` gives None where the copy holds no places."""

    tensor: Callable[[str], Tensor]
    places: Callable[[str], Tensor | None]


def find_copies(averages: Average | Iterable[Average], slots: Mapping[str, Slot]) -> tuple[Copy, ...]:
    """The copies; EngineError if one lacks a masked weight or holds another shape.

    `averages` are modules (a deep copy of the model, AveragedModel) or mappings from parameter name to tensor, one or several.
    """
    listed = (averages,) if isinstance(averages, (nn.Module, Mapping)) else tuple(averages)
    return tuple(_find_copy(average, slots) for average in listed)


def _find_copy(average: object, slots: Mapping[str, Slot]) -> Copy:
    if isinstance(average, nn.Module):
        found = find_weights(average)
        names: Collection[str] = found
        copy = Copy(lambda name: found[name].weight, lambda name: getattr(found[name].module, "places", None))
    elif isinstance(average, Mapping):
        keys = {
            name: f"{name.rpartition('.')[0]}.{slot.attribute}".lstrip(".") for name, slot in slots.items()
        }
        names = [name for name, key in keys.items() if key in average]
        copy = Copy(
            lambda name: average[keys[name]],
            lambda name: average.get(f"{name.rpartition('.')[0]}.places".lstrip(".")),
        )
    else:
        raise EngineError(
            f"ema: expected modules or mappings from weight name to tensor, got {type(average).__name__}"
        )
    for name, slot in slots.items():
        if name not in names or copy.tensor(name).shape != slot.weight.shape:
            got = tuple(copy.tensor(name).shape) if name in names else "nothing of this name"
            raise EngineError(
                f"ema: expected a copy of {name!r} of shape {tuple(slot.weight.shape)}, got {got}"
            )
    return copy
