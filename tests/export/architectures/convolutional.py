"""Convolutional networks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def unit(
    i: int, o: int, k: int = 3, s: int = 1, g: int = 1, act: type[nn.Module] | None = nn.ReLU
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act(inplace=True)] if act else []))


class AlexNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(True), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
            nn.Conv2d(8, 12, 5, padding=2), nn.ReLU(True), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
            nn.Dropout(), nn.Linear(108, 16), nn.ReLU(True), nn.Linear(16, 4), nn.LogSoftmax(-1),
        )  # fmt: skip


class MobileNetV1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(3, 8, 3, 2, act=nn.ReLU6)
        self.blocks = nn.Sequential(
            *[
                nn.Sequential(unit(8 * k, 8 * k, 3, 2, 8 * k, nn.ReLU6), unit(8 * k, 16 * k, 1, act=nn.ReLU6))
                for k in (1, 2)
            ]
        )
        self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.avg_pool2d(self.blocks(self.stem(x)), 4).squeeze(3).squeeze(2))


class Squeeze(nn.Module):
    def __init__(self, c: int, act: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.act, self.gate = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1), act, gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.b(self.act(self.a(x.mean((2, 3), keepdim=True)))))


class MobileNetV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(3, 8, 3, 2, act=nn.Hardswish)
        self.up, self.deep = unit(8, 16, 1, act=nn.Hardswish), unit(16, 16, 5, 1, 16, nn.Hardswish)
        self.se, self.down = Squeeze(16, nn.ReLU(), nn.Hardsigmoid()), unit(16, 8, 1, act=None)
        self.head = nn.Sequential(nn.Linear(8, 12), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(12, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.down(self.se(self.deep(self.up(x))))
        y = x * F.relu6(x + 3, inplace=True) / 6
        return self.head(F.adaptive_avg_pool2d(y, 1).flatten(1))


class EfficientNet(nn.Module):
    def __init__(self, lite: bool = False) -> None:
        super().__init__()
        act = nn.ReLU6 if lite else nn.SiLU
        self.pad, self.stem = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, 2, bias=False)
        self.bn, self.act = nn.BatchNorm2d(8), act()
        self.up, self.deep = unit(8, 24, 1, act=act), unit(24, 24, 5, 2, 24, act)
        self.se = nn.Identity() if lite else Squeeze(24, nn.SiLU(), nn.Sigmoid())
        self.down, self.fc = unit(24, 12, 1, act=None), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn(self.stem(self.pad(x))))
        return self.fc(self.down(self.se(self.deep(self.up(x)))).mean([2, 3]))


class RegNet(nn.Module):
    def __init__(self, squeeze: bool = True, groups: int = 2) -> None:
        super().__init__()
        self.stem = unit(3, 8, 3, 2)
        se = Squeeze(16, nn.ReLU(), nn.Sigmoid()) if squeeze else nn.Identity()
        self.main = nn.Sequential(unit(8, 16, 1), unit(16, 16, 3, 2, groups), se, unit(16, 16, 1, act=None))
        self.short, self.fc = unit(8, 16, 1, 2, act=None), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc(F.relu(self.main(x) + self.short(x)).amax((2, 3)))


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(3, 8, 7, 2)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + 4 * i), nn.ReLU(), nn.Conv2d(8 + 4 * i, 4, 3, padding=1))
            for i in range(3)
        )
        self.transition = nn.Sequential(nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 10, 1), nn.AvgPool2d(2))
        self.fc = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = [F.max_pool2d(self.stem(x), 3, 2, 1)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.fc(
            F.adaptive_avg_pool2d(self.transition(torch.cat(features, 1)), (1, 1)).view(x.size(0), -1)
        )


class Inception(nn.Module):
    def __init__(self, lrn: bool = False) -> None:
        super().__init__()
        self.stem = unit(3, 8, 3, 2)
        self.lrn = nn.LocalResponseNorm(3, k=2.0) if lrn else nn.Identity()
        self.a, self.b = unit(8, 4, 1), nn.Sequential(unit(8, 4, 1), nn.Conv2d(4, 6, (1, 7), padding=(0, 3)))
        self.c, self.d = nn.Conv2d(8, 4, (3, 1), padding=(1, 0)), unit(8, 4, 1)
        self.fc = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.stack([x[:, 0] * 0.4 - 0.1, x[:, 1] * 0.5, x[:, 2] * 0.6 + 0.1], 1)
        x = F.max_pool2d(self.lrn(self.stem(x)), 3, stride=2, ceil_mode=True)
        x = torch.cat([self.a(x), self.b(x), self.c(x), self.d(F.avg_pool2d(x, 3, 1, 1))], 1)
        return F.softmax(self.fc(F.dropout(x.mean((-1, -2)), training=self.training)), dim=1)


class SqueezeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 4, 1)
        self.one, self.three, self.head = (
            nn.Conv2d(4, 6, 1),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.Conv2d(12, 5, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, ceil_mode=True)
        x = F.relu(self.squeeze(x))
        x = torch.cat((F.relu(self.one(x)), F.relu(self.three(x))), dim=1)
        return torch.flatten(F.adaptive_avg_pool2d(F.elu(self.head(x)), 1), 1)


class ShuffleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = unit(3, 8, 3, 2), nn.Linear(8, 3)
        self.branch = nn.Sequential(unit(4, 4, 1), unit(4, 4, 3, 1, 4, None), unit(4, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2):
            a, b = x.chunk(2, dim=1)
            x = torch.cat((a, self.branch(b)), dim=1)
            n, c, h, w = x.size()
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.fc(F.channel_shuffle(x, 4).mean([2, 3]))


class GhostNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.cheap = unit(3, 6, 3, 2), unit(6, 6, 3, 1, 6)
        self.act, self.fc = nn.PReLU(11), nn.Linear(11, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.act(torch.cat([x, self.cheap(x)], dim=1)[:, :11, :, :])
        return self.fc(F.adaptive_max_pool2d(x, 1).flatten(1))


class BlurNet(nn.Module):
    """Reflection padding, fixed blur, several activations, weight standardization, norms of the example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.group = nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"), nn.GroupNorm(2, 8)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.register_buffer(
            "blur", (torch.tensor([1.0, 2, 1])[:, None] * torch.tensor([1.0, 2, 1]) / 16).expand(8, 1, 3, 3)
        )
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        w = self.conv.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        x = F.leaky_relu(F.conv2d(x, w, self.conv.bias, padding=1), 0.1) + F.mish(self.conv(x))
        x = F.conv2d(F.pad(self.group(x), (1, 1, 1, 1), mode="reflect"), self.blur, stride=2, groups=8)
        x = self.instance(x).flip(3)
        return F.normalize(self.fc(F.softplus(x).flatten(2).max(-1)[0]), dim=-1)


class UNet(nn.Module):
    def __init__(self, upsample: str = "") -> None:
        super().__init__()
        self.down, self.mid = unit(3, 6), unit(6, 8)
        self.up = (
            nn.Sequential(nn.Upsample(scale_factor=2, mode=upsample, align_corners=True), nn.Conv2d(8, 6, 1))
            if upsample
            else nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1)
        )
        self.join, self.head = unit(12, 6), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x)
        b = self.up(self.mid(F.max_pool2d(a, 2)))
        dy, dx = a.size(2) - b.size(2), a.size(3) - b.size(3)
        b = F.pad(b, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.head(self.join(torch.cat([a, b], dim=1)))


class DeepLab(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(3, 8, 3, 2)
        self.rates = nn.ModuleList([nn.Conv2d(8, 4, 3, padding=r, dilation=r) for r in (1, 2, 4)])
        self.pool, self.head = nn.Conv2d(8, 4, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        size = x.shape[-2:]
        y = self.stem(x)
        pooled = F.interpolate(self.pool(F.adaptive_avg_pool2d(y, 1)), size=y.shape[-2:], mode="bilinear")
        y = self.head(torch.cat([*(rate(y) for rate in self.rates), pooled], 1))
        y = F.interpolate(y, size=size, mode="bilinear", align_corners=False)
        return {"out": y, "label": y.argmax(1)}


class SuperResolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 5, padding=2), nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.pixel_shuffle(self.b(torch.tanh(self.a(x))), 2)
        return y.clamp(-0.8, 0.8) + F.interpolate(x, scale_factor=2, mode="bicubic")


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 8 * 4 * 4)
        self.a, self.b = (
            nn.ConvTranspose2d(8, 6, 4, 2, 1, bias=False),
            nn.ConvTranspose2d(6, 3, 5, 3, 0, groups=3),
        )
        self.bn = nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.selu(self.fc(x)).view(-1, 8, 4, 4)
        return torch.tanh(self.b(F.leaky_relu(self.bn(self.a(x)), 0.2)))


class ChannelNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias).permute(
            0, 3, 1, 2
        )


class ConvNext(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm0 = nn.Conv2d(3, 8, 4, 4), ChannelNorm(8)
        self.deep, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8)
        self.up, self.down, self.gamma = nn.Linear(8, 32), nn.Linear(32, 8), nn.Parameter(torch.randn(8))
        self.head = nn.Sequential(nn.Flatten(1), nn.LayerNorm(8), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm0(self.stem(x))
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        h = F.gelu(self.up(y))
        g = torch.norm(h, p=2, dim=(1, 2), keepdim=True)
        h = h * (g / (g.mean(dim=-1, keepdim=True) + 1e-6)) + h
        x = x + (self.gamma * self.down(h)).permute(0, 3, 1, 2)
        return self.head(F.adaptive_avg_pool2d(x, 1))
