"""Averaged copies obey the masks."""

import copy

import pytest
import torch

from gossamer.errors import EngineError
from gossamer.training import SET, Sparsifier, Static
from tests.training.helpers import (
    MLP,
    NOTHING,
    assert_dropped_is_zero,
    backward,
    bottleneck,
    mlp,
    rigl,
)


def test_averaged_copies_are_masked() -> None:
    model = bottleneck()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    twin = copy.deepcopy(model)
    loose = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sparsifier = Sparsifier(model, rigl(), optimizer, ema=(average, twin, loose))
    for step in range(9):
        backward(model, step)
        optimizer.step()
        average.update_parameters(model)
        copies = [dict(average.module.named_parameters()), dict(twin.named_parameters()), loose]
        assert_dropped_is_zero(
            sparsifier, model, optimizer, [{n: t.detach() for n, t in c.items()} for c in copies]
        )


def test_averages_may_make_new_tensors_and_move() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loose = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    module = copy.deepcopy(model)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING, ema=(loose, module))
    module.double()  # new storage
    for step in range(6):
        for name, tensor in model.state_dict().items():
            loose[name] = 0.9 * loose[name] + 0.1 * tensor  # new tensors
        backward(model, step, shape=MLP)
        optimizer.step()
        copies = {name: parameter.detach() for name, parameter in module.named_parameters()}
        assert_dropped_is_zero(sparsifier, model, optimizer, [loose, copies])


def test_the_average_of_a_regrown_weight_starts_afresh() -> None:
    """Dropped and grown again by one edit: as if it had been grown later, and as on compact layers."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    average = copy.deepcopy(model)
    method = SET(sparsity=0.2, drop_fraction=0.9, every=1, stop=2)
    sparsifier = Sparsifier(model, method, optimizer, protect=NOTHING, ema=average)
    backward(model, 0, shape=MLP)
    optimizer.step()
    assert sum(layer.regrown for layer in sparsifier.history[-1].layers.values())
    for name, mask in sparsifier.masks.items():
        grown = mask & (model.get_parameter(name) == 0)
        assert not average.get_parameter(name)[grown].any()


def test_a_copy_of_another_model_is_refused() -> None:
    with pytest.raises(
        EngineError, match=r"ema: expected a copy of '2.weight' of shape \(8, 8\), got nothing of this name"
    ):
        Sparsifier(mlp(), Static(sparsity=0.2), ema=bottleneck())
