"""Loaded weights obey their masks; copies of the model are free of the engine."""

import copy
from typing import Any

import torch

from gossamer.training import Sparsifier, Static
from tests.training.helpers import (
    MLP,
    NOTHING,
    assert_dropped_is_zero,
    backward,
    mlp,
)


def test_deep_copies_and_pickles_do_not_drag_the_engine_along(tmp_path: Any) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    twin = copy.deepcopy(model)
    torch.save(model, tmp_path / "model.pt")
    twin.load_state_dict({name: torch.ones_like(tensor) for name, tensor in twin.state_dict().items()})
    assert bool((twin[0].weight == 1).all())
    other = Sparsifier(twin, Static(sparsity=0.5), protect=NOTHING)
    assert other.masks["0.weight"] is not sparsifier.masks["0.weight"]


def test_a_dense_checkpoint_loads_and_obeys_the_masks_at_once() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    backward(model, 0, shape=MLP)
    optimizer.step()
    model.load_state_dict(mlp(seed=9).state_dict())
    assert_dropped_is_zero(sparsifier, model, optimizer)
