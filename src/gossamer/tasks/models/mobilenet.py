"""MobileNetV1 (Howard et al., 2017, table 1) and MobileNetV2 ("Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2).

V2 has torchvision's names (`features.0.0`, `features.1.conv.0.0`, ..., `classifier.1`). Torchvision has no V1; here its blocks are named
alike: `features.N.0` the depthwise convolution, `features.N.3` the 1x1 one. ReLU in V1, ReLU6 in V2.
"""

from __future__ import annotations

from torch import Tensor, nn

_V1 = (  # output channels, stride
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
_V2 = (  # expansion, output channels, repeats, stride
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def initialize(model: nn.Module) -> None:
    """Normal weights that keep the size of values through a convolution, whatever its groups, and the ReLU behind it."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            inputs = module.kernel_size[0] * module.kernel_size[1] * module.in_channels // module.groups
            nn.init.normal_(module.weight, std=(2 / inputs) ** 0.5)


class MobileNetV1(nn.Module):
    """3x3 stem, thirteen pairs of a depthwise 3x3 and a 1x1 convolution, average pooling, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        ]
        channels = 32
        for width, stride in _V1:
            layers.append(
                nn.Sequential(
                    nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                    nn.Conv2d(channels, width, 1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                )
            )
            channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> logits [N, num_classes]."""
        out: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return out


class _ConvNormActivation(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(),
        )


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, 1x1 projection without activation; the input is added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_ConvNormActivation(inputs, hidden, 1)]
        layers += [
            _ConvNormActivation(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.use_res_connect = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]."""
        out: Tensor = self.conv(x)
        return x + out if self.use_res_connect else out


class MobileNetV2(nn.Module):
    """3x3 stem, seventeen inverted residuals, a 1x1 convolution to 1280 channels, pooling, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_ConvNormActivation(3, 32, 3, 2)]
        channels = 32
        for expansion, width, repeats, stride in _V2:
            for index in range(repeats):
                layers.append(InvertedResidual(channels, width, stride if index == 0 else 1, expansion))
                channels = width
        layers.append(_ConvNormActivation(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes))
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> logits [N, num_classes]."""
        out: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return out


def mobilenet_v1(num_classes: int = 1000) -> MobileNetV1:
    """MobileNetV1 of width 1: 4.2 million parameters, 569 million multiply-accumulates at 224x224.

    >>> sum(p.numel() for p in mobilenet_v1().parameters())
    4231976
    """
    return MobileNetV1(num_classes)


def mobilenet_v2(num_classes: int = 1000) -> MobileNetV2:
    """MobileNetV2 of width 1: 3.5 million parameters, 301 million multiply-accumulates at 224x224.

    >>> sum(p.numel() for p in mobilenet_v2().parameters())
    3504872
    """
    return MobileNetV2(num_classes)
