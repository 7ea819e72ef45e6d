"""Networks of the shipped tasks: a CIFAR-style ResNet-20 and a multilayer perceptron.

ResNet-20 is the one of "Deep Residual Learning for Image Recognition" (CVPR 2016), section 4.2: a 3x3 stem
of `width` channels, three stages of three basic blocks with `width`, `2 width` and `4 width` channels,
global average pooling and one linear layer. Deviation: where the shape changes, the shortcut is a 1x1
convolution with batch norm (option B of the paper), as in every torchvision ResNet. Parameter names are
torchvision's: `conv1`, `bn1`, `layer1.0.conv1`, ..., `layer2.0.downsample.0`, `fc`.

Shapes: N = batch, C = channels, H, W = height, width.
"""

from collections.abc import Sequence

from torch import Tensor, nn

BLOCKS_PER_STAGE = 3


class BasicBlock(nn.Module):
    """relu(bn(conv3x3(relu(bn(conv3x3(x))))) + shortcut(x)); x [N, C, H, W]."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, channels, H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.relu(self.bn2(self.conv2(x)) + shortcut)
        return out


class ResNet20(nn.Module):
    """See the module's docstring; made by `resnet20`."""

    def __init__(self, num_classes: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> logits [N, num_classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.fc(self.avgpool(x).flatten(1))
        return out


def _stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(BLOCKS_PER_STAGE - 1)))


def resnet20(num_classes: int = 10, in_channels: int = 1, width: int = 16) -> ResNet20:
    """ResNet-20 with about 272 000 weights at width 16; takes images of any size from 4x4 on.

    >>> model = resnet20()
    >>> sum(p.numel() for p in model.parameters())
    272186
    """
    return ResNet20(num_classes, in_channels, width)


def mlp(
    num_classes: int = 10,
    in_features: int = 784,
    hidden: Sequence[int] = (300, 100),
) -> nn.Sequential:
    """Flatten, then linear layers of sizes `hidden` with ReLU between; default is LeNet-300-100 on 1x28x28
    images.

    >>> list(mlp().state_dict())
    ['1.weight', '1.bias', '3.weight', '3.bias', '5.weight', '5.bias']
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for size in hidden:
        layers += [nn.Linear(in_features, size), nn.ReLU()]
        in_features = size
    return nn.Sequential(*layers, nn.Linear(in_features, num_classes))
