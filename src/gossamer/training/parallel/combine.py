"""From K workers' models to one: who owns which tensor.

    weight of a layer in partition i         worker i
    every other floating-point tensor        others="average": the mean over all workers; "owner": as below
    whole numbers (counts of batches)        others="average": the largest; "owner": as below
    any other tensor (bool, complex)         others="average": must be the same in all workers; "owner": as below

With others="owner" a tensor belongs to the worker of the masked weight in its own module, else of the last masked weight before it in the
order of `state_dict` (a norm follows its convolution), else of the first one.

Means are taken in float64 over sorted values, so that no order of workers can change a bit of them.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gossamer.errors import EngineError

OTHERS = ("average", "owner")
State = Mapping[str, Tensor]


def owners(names: Sequence[str], partitions: Sequence[Sequence[str]]) -> dict[str, int]:
    """The partition that every tensor belongs to, if each has one owner. `names` are in the order of `state_dict`.

    >>> owners(["stem.weight", "a.weight", "a.bias", "norm.weight", "b.bias", "b.weight"], [["a.weight"], ["b.weight"]])
    {'stem.weight': 0, 'a.weight': 0, 'a.bias': 0, 'norm.weight': 0, 'b.bias': 1, 'b.weight': 1}
    """
    weights = {name: index for index, part in enumerate(partitions) for name in part}
    missing = [name for name in weights if name not in names]
    if missing:
        raise EngineError(f"expected {missing[0]!r} among the tensors of the model, got no such tensor")
    modules = {name.rpartition(".")[0]: index for name, index in weights.items()}
    latest = next(weights[name] for name in names if name in weights)
    found = {}
    for name in names:
        latest = weights.get(name, modules.get(name.rpartition(".")[0], latest))
        found[name] = latest
    return found


def combine(states: Sequence[State], partitions: Sequence[Sequence[str]], others: str) -> dict[str, Tensor]:
    """One state from those of all workers, in order of their partitions; every tensor comes from its owner or by the stated rule."""
    names = list(states[0])
    for index, state in enumerate(states):
        for name in names:
            if name not in state or state[name].shape != states[0][name].shape:
                got = "none" if name not in state else f"shape {tuple(state[name].shape)}"
                raise EngineError(
                    f"worker of partition {index}: expected {name!r} of shape {tuple(states[0][name].shape)} as in the others, got {got}"
                )
        if len(state) != len(names):
            extra = next(name for name in state if name not in names)
            raise EngineError(
                f"worker of partition {index}: {extra!r} has no owner: the other workers do not have it"
            )
    owned = owners(names, partitions)
    weights = {name for part in partitions for name in part}
    combined = {}
    for name in names:
        if name in weights or others == "owner":
            combined[name] = states[owned[name]][name].clone()
        else:
            combined[name] = _shared(name, [state[name] for state in states])
    return combined


def _shared(name: str, tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if first.is_floating_point():
        values = torch.stack([tensor.to(torch.float64) for tensor in tensors]).sort(dim=0).values
        return (values.sum(dim=0) / len(tensors)).to(first.dtype)
    if not first.is_complex() and first.dtype != torch.bool:
        return torch.stack(list(tensors)).amax(dim=0)
    for index, tensor in enumerate(tensors):
        if not torch.equal(tensor, first):
            raise EngineError(
                f"{name!r} ({first.dtype}) has no mean: expected the same values in all workers, got others from partition {index}; use "
                "others='owner'"
            )
    return first.clone()
