"""EfficientNet-Lite0: EfficientNet-B0 ("Rethinking Model Scaling", ICML 2019, table 1) without squeeze and excitation, with ReLU6.

The published weights come from TensorFlow, hence its padding (a stride of 2 pads the lower right alone) and the epsilon of 1e-3. Names
are timm's: `conv_stem`, `blocks.1.0.conv_pw`, `blocks.1.0.bn1`, ..., `conv_head`, `classifier`.
"""

from __future__ import annotations

from torch import Tensor, nn

from gossamer.tasks.models.mobilenet import initialize

_STAGES = (  # expansion, output channels, repeats, stride, kernel
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip
EPSILON = 1e-3


class SamePadConv(nn.Conv2d):
    """A convolution with TensorFlow's padding for images whose size the stride divides."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        even = stride == 1
        super().__init__(
            inputs, outputs, kernel, stride, kernel // 2 if even else 0, groups=groups, bias=False
        )
        total = max(kernel - stride, 0)
        before = total // 2
        self.pad = None if even else nn.ZeroPad2d((before, total - before, before, total - before))

    def forward(self, input: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]."""
        return super().forward(input if self.pad is None else self.pad(input))


class DepthwiseSeparable(nn.Module):
    """The first stage's block: depthwise convolution, then a 1x1 one without activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = SamePadConv(inputs, inputs, kernel, stride, groups=inputs)
        self.bn1 = nn.BatchNorm2d(inputs, eps=EPSILON)
        self.conv_pw = SamePadConv(inputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs, eps=EPSILON)
        self.act = nn.ReLU6()
        self.has_skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]."""
        out: Tensor = self.bn2(self.conv_pw(self.act(self.bn1(self.conv_dw(x)))))
        return out + x if self.has_skip else out


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; the input is added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, kernel: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.conv_pw = SamePadConv(inputs, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden, eps=EPSILON)
        self.conv_dw = SamePadConv(hidden, hidden, kernel, stride, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden, eps=EPSILON)
        self.conv_pwl = SamePadConv(hidden, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs, eps=EPSILON)
        self.act = nn.ReLU6()
        self.has_skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]."""
        out: Tensor = self.act(self.bn1(self.conv_pw(x)))
        out = self.act(self.bn2(self.conv_dw(out)))
        out = self.bn3(self.conv_pwl(out))
        return out + x if self.has_skip else out


class EfficientNetLite(nn.Module):
    """Stem, seven stages, 1x1 convolution to 1280 channels, pooling, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv_stem = SamePadConv(3, 32, 3, 2)
        self.bn1 = nn.BatchNorm2d(32, eps=EPSILON)
        self.act = nn.ReLU6()
        stages, channels = [], 32
        for expansion, width, repeats, stride, kernel in _STAGES:
            blocks: list[nn.Module] = []
            for index in range(repeats):
                step = stride if index == 0 else 1
                blocks.append(
                    DepthwiseSeparable(channels, width, step, kernel)
                    if expansion == 1
                    else InvertedResidual(channels, width, step, kernel, expansion)
                )
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = SamePadConv(channels, 1280, 1)
        self.bn2 = nn.BatchNorm2d(1280, eps=EPSILON)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(1280, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W], H and W multiples of 32, scaled to -1..1 -> logits [N, num_classes]."""
        x = self.blocks(self.act(self.bn1(self.conv_stem(x))))
        x = self.act(self.bn2(self.conv_head(x)))
        out: Tensor = self.classifier(self.global_pool(x).flatten(1))
        return out


def efficientnet_lite0(num_classes: int = 1000) -> EfficientNetLite:
    """EfficientNet-Lite0, 4.65 million parameters.

    >>> sum(p.numel() for p in efficientnet_lite0().parameters())
    4652008
    """
    return EfficientNetLite(num_classes)
