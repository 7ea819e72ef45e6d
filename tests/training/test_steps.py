"""What one optimizer step is: scalers that skip, closures, accumulation, nested and failing steps."""

from typing import Any

import pytest
import torch
from torch import nn

from gossamer.training import Sparsifier
from tests.training.helpers import (
    MLP,
    NOTHING,
    OPTIMIZERS,
    assert_dropped_is_zero,
    backward,
    batch,
    mlp,
    rigl,
)


@pytest.mark.parametrize("name", ["sgd momentum", "sgd nesterov fused", "adam", "adam fused", "adamw fused"])
@pytest.mark.parametrize("unscale_first", [False, True])
def test_a_step_that_the_scaler_skipped_is_no_step(name: str, unscale_first: bool) -> None:
    """With a scaler and an overflow (in the very first step, and at an edit step) as without both; scores see unscaled gradients."""
    kind, settings = OPTIMIZERS[name]

    def train(*, scaled: bool) -> tuple[nn.Module, Sparsifier]:
        model = mlp(dtype=torch.float64)
        optimizer = kind(model.parameters(), **settings)
        method = rigl(criterion="magnitude_gradient")
        sparsifier = Sparsifier(model, method, optimizer, protect=NOTHING)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        for step, overflow in (
            (0, True),
            (0, False),
            (1, True),
            (1, False),
            (2, False),
            (3, True),
            (3, False),
            (4, False),
        ):
            if overflow and not scaled:
                continue
            x, y = batch(step, MLP)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x.double()), y)
            scaler.scale(loss).backward()
            if overflow:
                model[0].weight.grad[0, 0] = float("inf")
                model[2].weight.grad.fill_(float("nan"))
            if unscale_first:
                scaler.unscale_(optimizer)
                sparsifier.mask_gradients()
            scaler.step(optimizer)
            scaler.update(1024.0)
            if not overflow:
                assert_dropped_is_zero(sparsifier, model, optimizer)
        return model, sparsifier

    (plain, first), (scaled, second) = train(scaled=False), train(scaled=True)
    assert first.step == second.step == 5
    assert first.history == second.history
    for a, b in zip(plain.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("as_keyword", [False, True])
def test_a_closure_is_wrapped(as_keyword: bool) -> None:
    def train(*, closure: bool) -> tuple[nn.Module, Sparsifier]:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)
        for step in range(6):

            def evaluate(step: int = step) -> float:
                backward(model, step, shape=MLP)
                return 1.5

            if not closure:
                evaluate()
                optimizer.step()
            elif as_keyword:
                assert optimizer.step(closure=evaluate) == 1.5
            else:
                assert optimizer.step(evaluate) == 1.5
            assert_dropped_is_zero(sparsifier, model, optimizer)
        return model, sparsifier

    (plain, first), (wrapped, second) = train(closure=False), train(closure=True)
    assert first.history == second.history
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True))


def test_gradient_accumulation_counts_optimizer_steps() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    for micro in range(12):
        x, y = batch(micro, MLP)
        nn.functional.cross_entropy(model(x), y).backward()
        if micro % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
    assert sparsifier.step == 4
    assert [record.step for record in sparsifier.history] == [0, 2, 4]


def test_learning_rate_schedulers_do_not_count_twice() -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    for step in range(5):
        backward(model, step, shape=MLP)
        optimizer.step()
        scheduler.step()
    assert sparsifier.step == 5


class Wrapped(torch.optim.SGD):
    """A user's subclass: torch runs the hooks for its step and again for its parent's."""

    fails = False

    def step(self, closure: Any = None) -> Any:
        if self.fails:
            raise ValueError("a batch that cannot be read")
        return super().step(closure)


def test_a_step_that_calls_its_parents_step_is_one_step() -> None:
    model = mlp()
    optimizer = Wrapped(model.parameters(), lr=0.1, momentum=0.9)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)

    def broken() -> float:
        raise ValueError("a batch that cannot be read")

    for step in range(5):
        backward(model, step, shape=MLP)
        with pytest.raises(ValueError, match="cannot be read"):
            optimizer.step(broken)
        optimizer.fails = True
        with pytest.raises(ValueError, match="cannot be read"):
            optimizer.step()
        optimizer.fails = False
        optimizer.step()
        assert_dropped_is_zero(sparsifier, model, optimizer)
    assert sparsifier.step == 5
