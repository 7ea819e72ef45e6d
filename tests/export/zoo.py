"""Small models of many shapes: what users bring. Each class is one construct or one family of networks."""

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gossamer.tasks.models import mlp, resnet20


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms with statistics and factors that differ from their start, everything from one seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.normal_(0, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                if module.affine:
                    module.weight.uniform_(0.5, 1.5, generator=generator)
                    module.bias.normal_(0, 0.5, generator=generator)
    return model


def conv_bn(
    i: int, o: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    layers = [nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if act else []))


class Vgg(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(True), nn.MaxPool2d(2, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d((3, 2))
        self.classifier = nn.Sequential(nn.Linear(72, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Bottleneck(nn.Module):
    def __init__(self, i: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or i != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(i, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet50Like(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Bottleneck(8, 4, 1), Bottleneck(16, 4, 1))
        self.layer2 = nn.Sequential(Bottleneck(16, 8, 2))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(32, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(x))), 1))


class InvertedResidual(nn.Module):
    def __init__(self, i: int, o: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = i * expand
        self.residual = stride == 1 and i == o
        self.conv = nn.Sequential(
            conv_bn(i, hidden, 1),
            conv_bn(hidden, hidden, 3, stride, hidden),
            conv_bn(hidden, o, 1, act=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2Like(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(3, 8, 3, 2),
            InvertedResidual(8, 8, 1, 2),
            InvertedResidual(8, 12, 2, 3),
            conv_bn(12, 20, 1),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(20, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), (1, 1)).reshape(x.shape[0], -1))


class DilatedGroups(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 8, (3, 5), stride=(2, 1), padding=(2, 0), dilation=(2, 1), groups=2)
        self.b = nn.Conv2d(8, 6, 4, padding="same", bias=False)
        self.c = nn.Conv2d(6, 6, 2, padding="valid", dilation=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.silu(self.b(F.gelu(self.a(x)))))


class PreActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        return self.head((x + y).mean([2, 3]))


class DenseNetLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(3 + 4 * k) for k in range(3)])
        self.convs = nn.ModuleList([nn.Conv2d(3 + 4 * k, 4, 3, padding=1, bias=False) for k in range(3)])
        self.pool = nn.AvgPool2d(2, 2)
        self.head = nn.Linear(15, 2)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features.append(conv(F.relu(norm(torch.cat(features, 1)), inplace=True)))
        x = self.pool(torch.cat(features, 1))
        return self.head(F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1))


class Tokens(nn.Module):
    """Layer norm, GELU and softmax on [N, T, K]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(8), nn.LayerNorm([5, 8], elementwise_affine=False, eps=1e-3)
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8)
        self.scale, self.shift = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.down(F.gelu(self.up(self.norm(x)), approximate="tanh"))
        x = self.norm2(x) * self.scale + self.shift
        return torch.softmax(x, dim=-1)


class FlatTokens(nn.Module):
    """Tokens joined with the batch for a product, and taken apart again."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        n, t, k = x.shape
        return self.fc(x.reshape(n * t, k)).relu().view(n, t, 4).flatten(1)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4 * 5 * 3, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = x.view(x.size(0), -1)
        x = F.dropout(x, 0.5, training=self.training)
        return torch.sigmoid(self.fc(x)).clone().contiguous()


class SharedActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.fc = nn.ReLU(), nn.Linear(7, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.fc(self.act(self.fc(self.act(x)))))


class SharedConv(nn.Module):
    """One convolution used twice, once with a batch norm behind it: folding makes two weights of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.bn(self.conv(x)))) + self.conv(x)


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> dict[str, object]:
        hidden = self.body(x).relu()
        return {"logits": self.a(hidden), "extra": (self.b(hidden), None), "hidden": hidden}


@dataclass
class Prediction:
    logits: Tensor
    loss: Tensor | None = None


class DataclassOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Prediction:
        return Prediction(logits=self.fc(x))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Conv2d(2, 4, 3)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        return torch.cat([self.a(features), self.b(image).amax((2, 3))], dim=-1)


class OddPooling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        a = F.max_pool2d(x, 3, 2, ceil_mode=True)
        b = F.avg_pool2d(x, 3, 2, ceil_mode=True)
        c = F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)
        d = F.max_pool2d(F.pad(F.relu(x), (0, 1, 0, 1)), 3, 2)
        e = F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)
        f = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)
        g = F.adaptive_max_pool2d(x, (2, 1)) + F.adaptive_avg_pool2d(x, (2, 1))
        flat = [t.flatten(1) for t in (a, b, c, d, e, f, g)]
        return torch.cat([*flat, x.view(x.size(0), x.size(1), -1).mean(-1), x.mean(3).flatten(1)], 1)


class Padding(nn.Module):
    """Zeros before a convolution, twice; before nothing; and a value that is padded and used as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.conv = nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(F.pad(self.pad(x), (1, 0))), torch.sigmoid(F.pad(x, (1, 1, 2, 0)))


class OptionA(nn.Module):
    """The shortcut without weights: every second pixel, channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2), "constant", 0)


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(4, 4, 1), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        y = torch.cat([self.conv(torch.cat([b, a], 1)), a], 1).mean((2, 3))
        return self.fc(y[:, 1:4]) - y[:, -3:] * 0.5


class Arithmetic(nn.Module):
    """Normalization inside the model, scaled residuals, swish written by hand, products with constants."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1))
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.matrix = nn.Parameter(torch.randn(3, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std
        y = self.conv(x)
        x = torch.add(x, y * torch.sigmoid(y), alpha=0.5) - 2 * y
        return 1.0 - x.mean((2, 3), keepdim=True).view(-1, 3) @ self.matrix


class Clamps(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = F.hardtanh(x, 0.0, 6.0) + x.clamp(0, 6) + x.clamp(min=0) + F.relu6(x)
        return y.unsqueeze(1).relu().squeeze(1)


class InPlace(nn.Module):
    """In-place operations on a value, on a view of it, and on a copy."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2.0
        z = y.clone()
        z.sigmoid_()
        flat = y.view(y.shape[0], -1)
        flat.relu_()
        y += 1.0
        return flat + z.flatten(1)


class Copies(nn.Module):
    """What torch copies although it changes nothing; in-place operations on the copies leave the value."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5
        a, b, c = x * 1.0, F.pad(x, (0, 0)), F.adaptive_avg_pool2d(x, x.shape[2:])
        a.relu_()
        b.sigmoid_()
        c.clamp_(0, 6)
        return x + a + b + c


class ShuffleNetLike(nn.Module):
    """Split, depthwise, concatenation, channel shuffle; one channel selected at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(conv_bn(4, 4, 1), conv_bn(4, 4, 3, groups=4, act=False), conv_bn(4, 4, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = x.chunk(2, dim=1)
        x = torch.cat([kept, self.branch(changed)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return x, x[:, 3].flatten(1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


class BatchNorm1d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn0, self.fc, self.bn = (
            nn.BatchNorm1d(6),
            nn.Linear(6, 5, bias=False),
            nn.BatchNorm1d(5, affine=False),
        )
        self.tokens = nn.BatchNorm1d(4)

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.bn(self.fc(self.bn0(x))), self.tokens(t)


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.view(3, 12))


class WeightNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


MODELS: dict[str, tuple[object, tuple[tuple[int, ...], ...]]] = {
    "vgg": (Vgg, ((1, 3, 20, 13),)),
    "resnet20": (resnet20, ((1, 1, 12, 12),)),
    "resnet50": (ResNet50Like, ((1, 3, 33, 29),)),
    "mobilenet": (MobileNetV2Like, ((2, 3, 17, 19),)),
    "dilated_groups": (DilatedGroups, ((1, 4, 13, 11),)),
    "preactivation": (PreActivation, ((1, 6, 7, 9),)),
    "densenet": (DenseNetLike, ((1, 3, 8, 6),)),
    "tokens": (Tokens, ((1, 5, 8),)),
    "flat_tokens": (FlatTokens, ((1, 5, 6),)),
    "functional": (Functional, ((1, 1, 12, 9),)),
    "mlp": (mlp, ((1, 1, 28, 28),)),
    "shared_activation": (SharedActivation, ((4, 7),)),
    "shared_conv": (SharedConv, ((1, 4, 5, 6),)),
    "two_outputs": (TwoOutputs, ((1, 6),)),
    "dataclass": (DataclassOutput, ((1, 6),)),
    "two_inputs": (TwoInputs, ((1, 6), (1, 2, 5, 7))),
    "odd_pooling": (OddPooling, ((1, 2, 8, 7),)),
    "padding": (Padding, ((1, 3, 6, 7),)),
    "option_a": (OptionA, ((1, 4, 7, 8),)),
    "split": (Split, ((1, 4, 3, 3),)),
    "arithmetic": (Arithmetic, ((1, 3, 6, 5),)),
    "clamps": (Clamps, ((1, 9),)),
    "in_place": (InPlace, ((1, 2, 3),)),
    "copies": (Copies, ((1, 2, 3, 4),)),
    "shufflenet": (ShuffleNetLike, ((1, 8, 5, 6),)),
    "tied": (Tied, ((1, 6),)),
    "batch_norm_1d": (BatchNorm1d, ((1, 6), (1, 4, 3))),
    "fixed_batch": (FixedBatch, ((3, 3, 4),)),
    "weight_norm": (WeightNorm, ((1, 3, 5, 5),)),
}


def build(name: str, seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A model of the zoo with random weights, in evaluation mode, and its example."""
    torch.manual_seed(seed)
    make, shapes = MODELS[name]
    model = randomize(make(), seed).eval()  # type: ignore[operator]
    return model, tuple(torch.randn(shape) for shape in shapes)


def masks_of(model: nn.Module, sparsity: float = 0.7, seed: int = 0) -> "OrderedDict[str, Tensor]":
    """Random masks of every matrix."""
    generator = torch.Generator().manual_seed(seed)
    return OrderedDict(
        (name, torch.rand(p.shape, generator=generator) >= sparsity)
        for name, p in model.named_parameters()
        if p.dim() > 1 and name.endswith("weight")
    )
