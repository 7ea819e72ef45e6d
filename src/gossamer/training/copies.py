"""Averaged copies of the weights (EMA) that a user registers, so that they obey the masks too.

A copy is asked for its tensors anew at every step, because averages are often written as `ema[name] = 0.9 * ema[name] + ...`, which makes
new tensors, and because a module may be moved or loaded.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from torch import Tensor, nn

from gossamer.errors import EngineError
from gossamer.training.layers import Slot, find_weights

Copy = Callable[[str], Tensor]  # weight name -> the tensor of now
Average = nn.Module | Mapping[str, Tensor]


def find_copies(averages: Average | Iterable[Average], slots: Mapping[str, Slot]) -> tuple[Copy, ...]:
    """One function a copy; EngineError if it lacks a masked weight or holds another shape.

    `averages` are modules (a deep copy of the model, AveragedModel) or mappings from weight name to tensor, one or several.
    """
    listed = (averages,) if isinstance(averages, (nn.Module, Mapping)) else tuple(averages)
    return tuple(_find_copy(average, slots) for average in listed)


def _find_copy(average: object, slots: Mapping[str, Slot]) -> Copy:
    names: Collection[str]
    tensor_of: Copy
    if isinstance(average, nn.Module):
        places = find_weights(average)
        names, tensor_of = places, lambda name: places[name].weight
    elif isinstance(average, Mapping):
        names, tensor_of = average, average.__getitem__
    else:
        raise EngineError(
            f"ema: expected modules or mappings from weight name to tensor, got {type(average).__name__}"
        )
    for name, slot in slots.items():
        if name not in names or tensor_of(name).shape != slot.weight.shape:
            got = tuple(tensor_of(name).shape) if name in names else "nothing of this name"
            raise EngineError(
                f"ema: expected a copy of {name!r} of shape {tuple(slot.weight.shape)}, got {got}"
            )
    return tensor_of
