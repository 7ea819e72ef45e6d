"""Weights of a network from a file that runs no code.

Weights are a `.safetensors` file or a `torch.save` file that loads with
`weights_only=True`: a state dict, or a mapping that holds one under `model` or `state_dict`.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gossamer.errors import CheckpointError

_INNER_KEYS = ("model", "state_dict")


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights of a file into the model; missing, unexpected and wrongly shaped ones are named."""
    state = read_weights(path)
    expected = {
        name: tuple(value.shape) for name, value in model.state_dict().items() if isinstance(value, Tensor)
    }
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = [name for name in expected if name not in state and name not in optional]
    extra = [name for name in state if name not in expected]
    shapes = [
        f"{name} is {_shape(state[name].shape)}, expected {_shape(shape)}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    complaints = [
        *_listed("missing", missing),
        *_listed("not in the model", extra),
        *_listed("shapes", shapes),
    ]
    if complaints:
        raise CheckpointError(
            f"{path} belongs to another model than {type(model).__name__}: {'; '.join(complaints)}"
        )
    model.load_state_dict(state, strict=False)


def load_by_order(model: nn.Module, path: Path) -> None:
    """Put weights of other names into the model: the same number of tensors, of the same shapes, in the same order."""
    found, expected = list(read_weights(path).values()), model.state_dict()
    shapes = [(tuple(a.shape), tuple(b.shape)) for a, b in zip(found, expected.values(), strict=False)]
    wrong = next((index for index, (a, b) in enumerate(shapes) if a != b), None)
    if len(found) != len(expected) or wrong is not None:
        where = "" if wrong is None else f"; tensor {wrong} is {_shape(shapes[wrong][0])}"
        raise CheckpointError(
            f"{path}: expected {len(expected)} tensors in the order and shapes of {type(model).__name__}, got {len(found)}{where}"
        )
    model.load_state_dict(dict(zip(expected, found, strict=True)))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read the weights {path}: {error.strerror or error}") from None
    except pickle.UnpicklingError:  # torch's own words advise to load it unsafely
        raise CheckpointError(
            f"{path}: expected weights that load without running code (.safetensors, or torch.save of a state dict), got objects "
            "or no checkpoint; save them with torch.save(model.state_dict(), ...)"
        ) from None
    except Exception as error:  # of bytes that are no pickle the unpickler raises anything: KeyError, IndexError, struct.error
        raise CheckpointError(
            f"{path}: expected weights that load without running code (.safetensors, or torch.save of a state dict), got "
            f"{_found(path, error)}"
        ) from None
    for key in _INNER_KEYS:
        if isinstance(values, Mapping) and isinstance(values.get(key), Mapping):
            values = values[key]
            break
    if not isinstance(values, Mapping) or not all(isinstance(value, Tensor) for value in values.values()):
        raise CheckpointError(
            f"{path}: expected a state dict (names to tensors), or one under 'model' or 'state_dict'"
        )
    return {str(name).removeprefix("module."): value for name, value in values.items()}


def _found(path: Path, error: Exception) -> str:
    """What a file without weights is."""
    if path.stat().st_size == 0:
        return "an empty file"
    words = " ".join([type(error).__name__ + ":", *str(error).splitlines()[:1]])
    return f"no checkpoint, or a damaged one ({words.rstrip(': ')})"


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{what}: {', '.join(names[:3])}{more}"]
