"""Equality chains between methods, and degenerate settings."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer.training import SET, Gradual, Method, OneShot, RigL, Sparsifier, Static
from tests.training.helpers import NOTHING, assert_dropped_is_zero, backward, mlp

MLP = (8, 6)


def train(method: Method, steps: int = 8, **settings: Any) -> tuple[nn.Module, Sparsifier]:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, method, optimizer, protect=NOTHING, seed=11, **settings)
    for step in range(steps):
        backward(model, step, shape=MLP)
        optimizer.step()
        assert_dropped_is_zero(sparsifier, model, optimizer)
    return model, sparsifier


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_rigl_with_random_growth_is_set_with_the_same_drop_schedule() -> None:
    common: dict[str, Any] = {"sparsity": 0.6, "every": 2, "stop": 8, "drop_fraction": 0.5}
    rigl, first = train(RigL(**common, grow="random"))
    chance, second = train(SET(**common, decay="cosine"))
    assert first.history == second.history
    assert first.history[1].grown > 0
    assert torch.equal(weights(rigl), weights(chance))


@pytest.mark.parametrize("at", [0, 3])
def test_gradual_with_one_edit_is_one_shot(at: int) -> None:
    gradual, first = train(Gradual(sparsity=0.6, start=at, stop=at))
    one_shot, second = train(OneShot(sparsity=0.6, at=at))
    assert first.history == second.history
    assert len(first.history) == 1
    assert torch.equal(weights(gradual), weights(one_shot))


def test_an_exchange_without_edits_is_static() -> None:
    exchange, first = train(SET(sparsity=0.6, every=100, stop=100))
    static, second = train(Static(sparsity=0.6))
    assert first.history == second.history
    assert torch.equal(weights(exchange), weights(static))


@pytest.mark.parametrize(
    "method", [OneShot(sparsity=0.0), Gradual(sparsity=0.0, every=2, stop=4), Static(sparsity=0.0)]
)
def test_sparsity_zero_is_dense_training(method: Method) -> None:
    model, sparsifier = train(method)
    dense = mlp()
    optimizer = torch.optim.Adam(dense.parameters(), lr=0.01)
    for step in range(8):
        backward(dense, step, shape=MLP)
        optimizer.step()
    assert sparsifier.sparsity == 0.0
    assert torch.equal(weights(model), weights(dense))


def test_gradual_counts_follow_the_cubic() -> None:
    _, sparsifier = train(Gradual(sparsity=0.8, every=2, stop=8), steps=9)
    size = 6 * 8 + 8 * 8 + 8 * 4  # 144
    # by hand: s(2), s(4), s(6) of 0.8 (1 - (1 - x)^3) are 0.4625, 0.7, 0.7875; kept = round(144 (1 - s))
    assert [(record.step, record.num_kept) for record in sparsifier.history] == [
        (0, size), (2, 77), (4, 43), (6, 31), (8, 29)]  # fmt: skip


def test_ties_and_zero_gradients_are_stable() -> None:
    """Constant weights: one-shot keeps the lowest indices. Zero gradients: RigL grows the lowest absent indices, exactly."""
    layer = nn.Linear(8, 4, bias=False)
    nn.init.constant_(layer.weight, 0.5)
    masks = Sparsifier(nn.Sequential(layer), OneShot(sparsity=0.75), protect=NOTHING).masks
    assert masks["0.weight"].flatten().tolist() == [True] * 8 + [False] * 24
    layer = nn.Linear(8, 4, bias=False)
    nn.init.constant_(layer.weight, 0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    method = RigL(sparsity=0.5, initial="magnitude", every=1, stop=2, drop_fraction=0.5)
    sparsifier = Sparsifier(nn.Sequential(layer), method, optimizer, protect=NOTHING)
    layer.weight.grad = torch.zeros(4, 8)
    optimizer.step()
    # f(1) = 0.25 of 16 kept: 4 dropped from the end of the first 16, and grown there again, where the index is lowest
    assert sparsifier.history[1].layers["0.weight"].regrown == 4
    assert sparsifier.masks["0.weight"].flatten().tolist() == [True] * 16 + [False] * 16
    assert layer.weight.detach().flatten().tolist() == [0.5] * 12 + [0.0] * 20


def test_exclude_dropped_takes_others_first() -> None:
    common: dict[str, Any] = {"sparsity": 0.6, "every": 1, "stop": 9, "drop_fraction": 0.5}
    _, sparsifier = train(SET(**common, exclude_dropped=True))
    assert all(change.regrown == 0 for record in sparsifier.history for change in record.layers.values())
    _, sparsifier = train(SET(**common))
    assert any(change.regrown for record in sparsifier.history for change in record.layers.values())


def test_runs_differ_by_seed_only() -> None:
    first = Sparsifier(mlp(), Static(sparsity=0.6), protect=NOTHING, seed=1).history
    torch.manual_seed(99)  # the global generator is never used
    again = Sparsifier(mlp(), Static(sparsity=0.6), protect=NOTHING, seed=1).history
    other = Sparsifier(mlp(), Static(sparsity=0.6), protect=NOTHING, seed=2).history
    assert first == again
    assert first != other
