"""Tiny models, a deterministic loop, and the one check that everything in training must pass."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.training import Protection, RigL, Sparsifier

MLP = (8, 6)  # the shape of a batch for mlp()
NOTHING = Protection(first=False, last=False, depthwise=False)

OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}),
    "sgd momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "sgd nesterov fused": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "fused": True}),
    "adam": (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.01}),
    "adam fused": (torch.optim.Adam, {"lr": 0.01, "fused": True}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01}),
    "adamw fused": (torch.optim.AdamW, {"lr": 0.01, "fused": True, "amsgrad": True}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01, "initial_accumulator_value": 0.1}),
    "adadelta": (torch.optim.Adadelta, {}),
}


class Bottleneck(nn.Module):
    """Stem, one residual block with a projection shortcut, classifier: 6x6 images, shapes that every pattern fits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(16, 16, 1, bias=False)
        self.shortcut = nn.Conv2d(8, 16, 1, bias=False)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.stem(x)))
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.shortcut(x))
        return self.fc(x.mean(dim=(2, 3)))


def bottleneck(seed: int = 0) -> Bottleneck:
    torch.manual_seed(seed)
    return Bottleneck()


def mlp(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).to(dtype)


def batch(step: int, shape: tuple[int, ...] = (4, 1, 6, 6)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    return torch.randn(shape, generator=generator), torch.randint(0, 4, (shape[0],), generator=generator)


def backward(
    model: nn.Module, step: int, *, autocast: bool = False, shape: tuple[int, ...] = (4, 1, 6, 6)
) -> None:
    """Fresh gradients of the batch of this step."""
    model.zero_grad()
    x, y = batch(step, shape)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()


def is_plus_zero(tensor: Tensor) -> bool:
    """True if every value is +0.0: not -0.0, not NaN."""
    return bool((tensor == 0).all()) and not bool(torch.signbit(tensor).any())


def assert_dropped_is_zero(
    sparsifier: Sparsifier,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    copies: Iterable[Mapping[str, Tensor]] = (),
) -> None:
    """Weight, optimizer state of its shape and averaged copies are exactly +0.0 wherever the mask is False."""
    parameters = dict(model.named_parameters())
    for name, mask in sparsifier.masks.items():
        weight = parameters[name]
        tensors = [weight.detach(), *(copy[name] for copy in copies)]
        if optimizer is not None:
            tensors += [
                value
                for value in optimizer.state[weight].values()
                if isinstance(value, Tensor) and value.shape == weight.shape
            ]
        for tensor in tensors:
            assert is_plus_zero(tensor[~mask]), name


def rigl(**settings: Any) -> RigL:
    return RigL(**{"sparsity": 0.6, "every": 2, "stop": 9, "drop_fraction": 0.5, **settings})


def check_frozen_values(layer: nn.Module, x: Tensor) -> None:
    """A compact layer whose values are frozen keeps no input for the backward pass, and gives its gradient in its layout."""
    found, saved = [], []
    for frozen in (False, True):
        layer.values.requires_grad_(not frozen)
        given = x.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda kept: (saved.append(kept.shape), kept)[1], lambda kept: kept
        ):
            y = layer(given)
        y.pow(2).sum().backward()
        found.append(given.grad)
        assert (x.shape in saved) is not frozen
        saved.clear()
    assert torch.equal(found[0], found[1])
    assert found[0].stride() == found[1].stride()
