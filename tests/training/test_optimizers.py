"""Which optimizers serve which methods."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer.errors import EngineError
from gossamer.training import Sparsifier, Static
from tests.training.helpers import (
    MLP,
    NOTHING,
    assert_dropped_is_zero,
    backward,
    batch,
    mlp,
    rigl,
)


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (torch.optim.LBFGS, {}, "LBFGS cannot serve RigL.*inner iterations"),
        (torch.optim.Adafactor, {}, "Adafactor cannot serve RigL.*row and column sums"),
        (torch.optim.Rprop, {}, "Rprop cannot serve RigL"),
        (torch.optim.NAdam, {}, "NAdam corrects its bias with one step count a tensor.*adam_counts='shared'"),
    ],
)
def test_optimizers_that_cannot_serve_are_refused_by_name(
    kind: Any, settings: dict[str, Any], sentence: str
) -> None:
    model = mlp()
    with pytest.raises(EngineError, match=sentence):
        Sparsifier(model, rigl(), kind(model.parameters(), **settings), protect=NOTHING)
    assert not model[0]._load_state_dict_post_hooks
    assert bool(model[0].weight.all())


@pytest.mark.parametrize(
    "kind", [torch.optim.LBFGS, torch.optim.Adafactor, torch.optim.ASGD, torch.optim.Rprop]
)
def test_they_serve_a_fixed_mask(kind: Any) -> None:
    model = mlp()
    optimizer = kind(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, Static(sparsity=0.6), optimizer, protect=NOTHING)
    before = model[0].weight.detach().clone()
    for step in range(3):

        def closure(step: int = step) -> Tensor:
            backward(model, step, shape=MLP)
            x, y = batch(step, MLP)
            return nn.functional.cross_entropy(model(x), y)

        optimizer.step(closure)
        assert_dropped_is_zero(sparsifier, model, optimizer)
    assert not torch.equal(before, model[0].weight)


class OddState(torch.optim.SGD):
    """A user's optimizer that keeps a row sum."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["rows"] = torch.ones(p.shape[0])
        return super().step(closure)


def test_an_unknown_optimizer_is_looked_at_before_an_edit() -> None:
    model = mlp()
    optimizer = OddState(model.parameters(), lr=0.1)
    Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    backward(model, 0, shape=MLP)
    optimizer.step()
    backward(model, 1, shape=MLP)
    with pytest.raises(EngineError, match=r"OddState keeps state 'rows' of shape \(8,\)"):
        optimizer.step()


def test_replaced_parameters_are_noticed() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    model.load_state_dict(mlp(seed=3).state_dict(), assign=True)
    backward(model, 0, shape=MLP)
    with pytest.raises(EngineError, match=r"the optimizer does not hold '0\.weight'"):
        optimizer.step()
    sparsifier.detach()
    second = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier.attach(second)
    second.step()
    assert_dropped_is_zero(sparsifier, model, second)


def test_frozen_weights_are_not_exchanged() -> None:
    model = mlp()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with pytest.raises(EngineError, match=r"'0.weight' is frozen.*RigL would exchange"):
        Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    backward(model, 0, shape=MLP)
    optimizer.step()
    assert_dropped_is_zero(sparsifier, model, optimizer)
