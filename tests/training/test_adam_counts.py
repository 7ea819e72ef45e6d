"""Adam with a step count for each weight, against a hand-written one in float64."""

import pytest
import torch
from torch import Tensor, nn

from gossamer.training import SET, RigL, Sparsifier
from tests.training.helpers import NOTHING


class HandAdam:
    """Adam as in its paper, but every weight counts its own steps; decoupled or L2 decay, amsgrad, maximize."""

    def __init__(self, weight: Tensor, *, lr: float, betas: tuple[float, float], eps: float, decay: float, decoupled: bool,
                 amsgrad: bool, maximize: bool) -> None:  # fmt: skip
        self.w = weight.double().clone()
        self.m, self.v, self.top, self.age = (torch.zeros_like(self.w) for _ in range(4))
        self.lr, self.betas, self.eps, self.decay = lr, betas, eps, decay
        self.decoupled, self.amsgrad, self.maximize = decoupled, amsgrad, maximize

    def step(self, gradient: Tensor, mask: Tensor) -> None:
        g = gradient.double() * mask * (-1 if self.maximize else 1)
        if self.decoupled:
            self.w *= 1 - self.lr * self.decay
        else:
            g = g + self.decay * self.w
        self.age += 1
        self.m = self.betas[0] * self.m + (1 - self.betas[0]) * g
        self.v = self.betas[1] * self.v + (1 - self.betas[1]) * g * g
        self.top = torch.maximum(self.top, self.v)
        second = (self.top if self.amsgrad else self.v) / (1 - self.betas[1] ** self.age)
        self.w -= self.lr * (self.m / (1 - self.betas[0] ** self.age)) / (second.sqrt() + self.eps)

    def edit(self, before: Tensor, after: Tensor) -> None:
        fresh = after & ~before
        for tensor in (self.w, self.m, self.v, self.top):
            tensor[fresh | ~after] = 0
        self.age[fresh] = 0


FLAVOURS = {
    "adam": (torch.optim.Adam, {}),
    "adam single": (torch.optim.Adam, {"foreach": False}),
    "adam foreach": (torch.optim.Adam, {"foreach": True}),
    "adam fused": (torch.optim.Adam, {"fused": True}),
    "adam decay": (torch.optim.Adam, {"weight_decay": 0.1}),
    "adam amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "adam maximize": (torch.optim.Adam, {"maximize": True}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "adamw fused": (torch.optim.AdamW, {"weight_decay": 0.1, "fused": True, "amsgrad": True}),
    "adam without first memory": (torch.optim.Adam, {"betas": (0.0, 0.99)}),
    "adamw rate in a tensor": (
        torch.optim.AdamW,
        {"weight_decay": 0.1, "lr": torch.tensor(0.01, dtype=torch.float64)},
    ),
    "adam short memory": (torch.optim.Adam, {"betas": (0.1, 0.2)}),  # births leave the books within the run
}


def run(flavour: str, dtype: torch.dtype, adam_counts: str = "per_weight") -> float:
    """Largest difference between the engine's weights and the hand-written Adam's over 30 steps, in units of the learning rate."""
    torch.manual_seed(0)
    layer = nn.Linear(12, 10, bias=False, dtype=dtype)
    kind, settings = FLAVOURS[flavour]
    optimizer = kind(layer.parameters(), **{"lr": 0.01, **settings})
    method = RigL(sparsity=0.5, grow="random", exclude_dropped=True, every=4, stop=25)
    sparsifier = Sparsifier(nn.Sequential(layer), method, optimizer, protect=NOTHING, adam_counts=adam_counts)
    hand = HandAdam(
        layer.weight.detach(),
        lr=0.01,
        betas=settings.get("betas", (0.9, 0.999)),
        eps=1e-8,
        decay=settings.get("weight_decay", 0.0),
        decoupled=kind is torch.optim.AdamW,
        amsgrad=settings.get("amsgrad", False),
        maximize=settings.get("maximize", False),
    )
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for _ in range(30):
        before = sparsifier.masks["0.weight"].clone()
        gradient = torch.randn(10, 12, generator=generator, dtype=torch.float64).to(dtype)
        layer.weight.grad = gradient.clone()
        optimizer.step()
        hand.step(gradient, before)
        hand.edit(before, sparsifier.masks["0.weight"])
        worst = max(worst, float((layer.weight.detach().double() - hand.w).abs().max()) / 0.01)
    assert sum(record.grown for record in sparsifier.history) > 20
    return worst


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_equals_an_adam_with_a_count_for_each_weight(flavour: str) -> None:
    assert run(flavour, torch.float64) < 1e-10
    assert run(flavour, torch.float32) < 1e-3


def test_births_survive_a_detach_from_the_same_optimizer_only() -> None:
    layer = nn.Linear(12, 10, bias=False)
    first, second = (torch.optim.Adam(layer.parameters(), lr=0.01) for _ in range(2))
    method = SET(sparsity=0.5, every=2, stop=9, exclude_dropped=True)
    sparsifier = Sparsifier(nn.Sequential(layer), method, first, protect=NOTHING)

    def on_the_books() -> int:
        return sum(int((births >= 0).sum()) for births in sparsifier.state_dict()["births"].values())

    for _ in range(3):
        layer.weight.grad = torch.ones(10, 12)
        first.step()
    grown = sparsifier.history[1].grown
    sparsifier.detach()
    sparsifier.attach(first)
    assert on_the_books() == grown > 0
    sparsifier.detach()
    sparsifier.attach(second)
    assert on_the_books() == 0


def test_a_shared_count_gives_grown_weights_other_updates() -> None:
    assert run("adam", torch.float64, adam_counts="shared") > 1.0


def test_first_update_of_a_grown_weight_has_the_length_of_the_learning_rate() -> None:
    lengths = {}
    for counts in ("per_weight", "shared"):
        torch.manual_seed(0)
        layer = nn.Linear(8, 8, bias=False)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        method = SET(sparsity=0.5, exclude_dropped=True, every=2000, stop=2001)
        sparsifier = Sparsifier(nn.Sequential(layer), method, optimizer, protect=NOTHING, adam_counts=counts)
        for _ in range(2000):
            layer.weight.grad = torch.ones(8, 8)
            before = sparsifier.masks["0.weight"].clone()
            optimizer.step()
        fresh = sparsifier.masks["0.weight"] & ~before
        layer.weight.grad = torch.ones(8, 8)
        optimizer.step()
        lengths[counts] = float(layer.weight.detach()[fresh].abs().mean())
    assert lengths["per_weight"] == pytest.approx(0.01, rel=1e-4)
    # by hand: 0.1 / sqrt(0.001) * sqrt(1 - 0.999^2001) = 3.1623 * 0.9299
    assert lengths["shared"] == pytest.approx(0.01 * 0.1 / 0.001**0.5 * (1 - 0.999**2001) ** 0.5, rel=1e-3)
