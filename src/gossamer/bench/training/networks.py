"""The networks of the training benchmark: what they are, what they read, which of their layers stay dense.

mlp        1024-4096-4096-1024-10 with ReLU; the classifier stays dense
resnet20   of the tasks, 28x28 images of one channel; stem and classifier stay dense
cnn        seven 3x3 convolutions 3-64-64-128-128-256-256-512, three of them with stride 2, each with batch norm and ReLU, over 32x32
           images; mean over the image, classifier; stem and classifier stay dense
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from gossamer.errors import BudgetError
from gossamer.tasks.models import resnet20
from gossamer.training.protection import Protection

MLP_LAYERS = (1024, 4096, 4096, 1024, 10)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network without its weights' places. `sample`: shape of one example."""

    name: str
    build: Callable[[], nn.Module]
    sample: tuple[int, ...]
    classes: int
    batch: int  # unless somebody wants another
    protect: Protection

    @property
    def is_image(self) -> bool:
        return len(self.sample) == 3

    def examples(self, batch: int) -> tuple[Tensor, Tensor]:
        """Inputs [N, sample] and labels [N], equal at every call."""
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(batch, *self.sample, generator=generator)
        return inputs, torch.randint(self.classes, (batch,), generator=generator)


def mlp(layers: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them.

    >>> [type(layer).__name__ for layer in mlp((8, 4, 2))]
    ['Linear', 'ReLU', 'Linear']
    """
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(layers):
        parts += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def cnn() -> nn.Sequential:
    """Seven 3x3 convolutions."""
    parts: list[nn.Module] = []
    widths = (
        (3, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
    )
    for inputs, outputs, stride in widths:
        parts += [
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def _mlp(layers: Sequence[int]) -> Network:
    if len(layers) < 3 or min(layers) < 1:
        raise BudgetError(
            f"--layers: expected at least three positive widths such as 1024,4096,10, got {','.join(map(str, layers))}"
        )
    return Network(
        name=f"mlp {'-'.join(map(str, layers))}",
        build=lambda: mlp(layers),
        sample=(layers[0],),
        classes=layers[-1],
        batch=128,
        protect=Protection(first=False, last=True),
    )


MODELS: dict[str, Callable[[Sequence[int]], Network]] = {
    "mlp": _mlp,
    "resnet20": lambda _: Network(
        name="resnet20", build=resnet20, sample=(1, 28, 28), classes=10, batch=128, protect=Protection()
    ),
    "cnn": lambda _: Network(
        name="cnn", build=cnn, sample=(3, 32, 32), classes=10, batch=32, protect=Protection()
    ),
}


def network(model: str, layers: Sequence[int] | None = None) -> Network:
    """One of MODELS; `layers` are the widths of an mlp."""
    if model not in MODELS:
        raise BudgetError(f"--model: expected one of {', '.join(MODELS)}, got {model!r}")
    if layers is not None and model != "mlp":
        raise BudgetError(
            f"--layers: expected with --model mlp only, got --model {model}; leave one of them out"
        )
    return MODELS[model](MLP_LAYERS if layers is None else layers)
