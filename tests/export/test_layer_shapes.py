"""Convolutions and poolings of random shapes, many in one model: packed equals torch."""

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gossamer.export import pack

from .zoo import randomize

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Sigmoid)


class Side(nn.Module):
    """Every layer on the same input; one output each."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(x) for layer in self.layers)


def convolution(draw: random.Random, channels: int) -> nn.Module:
    groups = draw.choice([g for g in range(1, channels + 1) if channels % g == 0])
    out = groups * draw.randint(1, 9)
    stride = (draw.randint(1, 3), draw.randint(1, 3))
    layer = nn.Conv2d(
        channels,
        out,
        (draw.randint(1, 4), draw.randint(1, 4)),
        stride,
        "same" if stride == (1, 1) else (draw.randint(0, 3), draw.randint(0, 3)),
        (draw.randint(1, 2), draw.randint(1, 2)),
        groups=groups,
        bias=draw.random() < 0.5,
    )
    return (
        nn.Sequential(layer, nn.BatchNorm2d(out), draw.choice(ACTIVATIONS)())
        if draw.random() < 0.5
        else layer
    )


def pooling(draw: random.Random) -> nn.Module:
    kernel = (draw.randint(1, 4), draw.randint(1, 4))
    stride = (draw.randint(1, 3), draw.randint(1, 3))
    padding = (kernel[0] // 2, kernel[1] // 2) if draw.random() < 0.5 else 0
    return draw.choice(
        [
            nn.MaxPool2d(kernel, stride, padding, (1, draw.randint(1, 2))),
            nn.AvgPool2d(kernel, stride, padding, count_include_pad=draw.random() < 0.5),
            nn.AdaptiveAvgPool2d((draw.randint(1, 9), None)),
            nn.AdaptiveMaxPool2d((1, 1)),
        ]
    )


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("seed", range(3))
def test_random_layer_shapes(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    channels, height, width = draw.choice([1, 3, 4, 6, 16]), draw.randint(9, 21), draw.randint(9, 21)
    layers = [convolution(draw, channels) if draw.random() < 0.6 else pooling(draw) for _ in range(16)]
    model = randomize(Side(layers), seed).eval()
    masks = {
        n: torch.rand_like(p) > draw.choice([0, 0.5, 0.9]) for n, p in model.named_parameters() if p.dim() > 1
    }
    example = torch.randn(1, channels, height, width)
    report = pack(
        model, example, tmp_path / "m.gsm", masks=masks, dtype="float32", max_batch=3, tolerance=1e-5
    )
    assert report.verification.worst <= 1e-5
