"""Vision transformers, mixers and hybrids."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolutional import unit


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, by_hand: bool = False) -> None:
        super().__init__()
        self.heads, self.by_hand = heads, by_hand
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.by_hand:
            attn = (q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5
            attn = attn if bias is None else attn + bias
            x = attn.softmax(dim=-1) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, by_hand: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attn = (
            nn.LayerNorm(width),
            nn.LayerNorm(width),
            Attention(width, heads, by_hand),
        )
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(self, by_hand: bool = False, distilled: bool = False) -> None:
        super().__init__()
        self.patch, self.extra = nn.Conv2d(3, 16, 8, 8), 2 if distilled else 1
        self.tokens = nn.Parameter(torch.randn(1, self.extra, 16))
        self.pos = nn.Parameter(torch.randn(1, 16 + self.extra, 16))
        self.blocks = nn.Sequential(Block(16, 4, by_hand), Block(16, 2, by_hand))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.tokens.expand(x.shape[0], -1, -1), x), dim=1) + self.pos
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0] if self.extra == 1 else (x[:, 0] + x[:, 1]) / 2)


class Swin(nn.Module):
    """Windows, shifted by half of one, with relative positions and the mask of what a shift brings together."""

    def __init__(self, size: int = 8, window: int = 4) -> None:
        super().__init__()
        self.size, self.window = size, window
        self.patch, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.attn = nn.ModuleList([Attention(8, 2, by_hand=True) for _ in range(2)])
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, 2))
        place = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        ).flatten(1)
        apart = (place[:, :, None] - place[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", apart[..., 0] * (2 * window - 1) + apart[..., 1])
        self.merge_norm, self.merge = nn.LayerNorm(32), nn.Linear(32, 16, bias=False)
        self.head = nn.Linear(16, 3)

    def windows(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        x = x.view(b, h // self.window, self.window, w // self.window, self.window, c)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, self.window**2, c)

    def whole(self, x: Tensor, h: int, w: int) -> Tensor:
        b = x.shape[0] // (h * w // self.window**2)
        x = x.view(b, h // self.window, w // self.window, self.window, self.window, -1)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(b, h, w, -1)

    def mask(self, x: Tensor) -> Tensor:
        image = torch.zeros((1, self.size, self.size, 1))
        parts = (slice(0, -self.window), slice(-self.window, -2), slice(-2, None))
        for i, rows in enumerate(parts):
            for j, columns in enumerate(parts):
                image[:, rows, columns, :] = 3 * i + j
        seen = self.windows(image).squeeze(-1)
        apart = seen.unsqueeze(1) - seen.unsqueeze(2)
        return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        bias = (
            self.table[self.index.view(-1)]
            .view(self.window**2, self.window**2, -1)
            .permute(2, 0, 1)
            .contiguous()
        )
        for number, attn in enumerate(self.attn):
            y = self.norm(x)
            y = torch.roll(y, (-2, -2), (1, 2)) if number else y
            y = self.windows(y)
            extra = bias.unsqueeze(0)
            if number:
                mask = self.mask(x).unsqueeze(1)
                extra = extra + mask.repeat(x.shape[0], 1, 1, 1)
            y = self.whole(attn(y, extra), self.size, self.size)
            x = x + (torch.roll(y, (2, 2), (1, 2)) if number else y)
        corners = [x[:, i::2, j::2, :] for j in (0, 1) for i in (0, 1)]
        x = self.merge(self.merge_norm(torch.cat(corners, -1)))
        return self.head(x.mean((1, 2)))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.a, self.b = nn.Conv2d(3, 8, 8, 8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.tokens = nn.Sequential(nn.Linear(16, 12), nn.GELU(), nn.Linear(12, 16))
        self.channels, self.head = (
            nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.a(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.b(x))
        return self.head(x.mean(dim=1))


class MobileVit(nn.Module):
    """Patches join the batch, attention runs within them, and the image comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.into, self.back = (
            unit(3, 8, 3, 2, act=nn.SiLU),
            nn.Conv2d(8, 12, 1),
            nn.Conv2d(12, 8, 1),
        )
        self.block, self.join, self.head = Block(12, 3), unit(16, 8, act=nn.SiLU), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.into(x)
        b, c, h, w = y.shape
        y = y.reshape(b * c * (h // 2), 2, w // 2, 2).transpose(1, 2)
        y = y.reshape(b, c, (h // 2) * (w // 2), 4).transpose(1, 3).reshape(b * 4, -1, c)
        y = self.block(y)
        y = y.contiguous().view(b, 4, -1, c).transpose(1, 3)
        y = y.reshape(b * c * (h // 2), w // 2, 2, 2).transpose(1, 2).reshape(b, c, h, w)
        return self.head(self.join(torch.cat((x, self.back(y)), dim=1)).mean((2, 3)))


class CoAtNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = unit(3, 8, 3, 4, act=nn.ReLU), nn.LayerNorm(8)
        self.attn, self.bias = Attention(8, 2), nn.Parameter(torch.randn(2, 64, 64))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        b, c, h, w = x.shape
        y = torch.einsum("bchw->bhwc", x).reshape(b, h * w, c)
        y = y + self.attn(self.norm(y), self.bias)
        x = x + y.transpose(1, 2).reshape(b, c, h, w)
        return torch.einsum("bchw,kc->bk", x, self.head.weight) / (h * w) + self.head.bias


class PoolFormer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 8, 7, 4, 2), nn.GroupNorm(1, 8)
        self.pool, self.scale = nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Parameter(torch.randn(8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x)
        y = self.norm(x)
        x = x + self.scale.unsqueeze(-1).unsqueeze(-1) * (self.pool(y) - y)
        return self.head(x.mean([-2, -1]))


class Detr(nn.Module):
    """Queries attend to an image, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.queries = nn.Conv2d(3, 8, 8, 8), nn.Parameter(torch.randn(5, 8))
        self.row, self.column = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4, 4))
        self.transformer = nn.Transformer(8, 2, 1, 1, 16)
        self.classes, self.boxes = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        h, w = x.shape[-2:]
        pos = torch.cat(
            [self.column[:w].unsqueeze(0).repeat(h, 1, 1), self.row[:h].unsqueeze(1).repeat(1, w, 1)], dim=-1
        )
        source = pos.flatten(0, 1).unsqueeze(1) + 0.1 * x.flatten(2).permute(2, 0, 1)
        y = self.transformer(source, self.queries.unsqueeze(1).repeat(1, x.shape[0], 1)).transpose(0, 1)
        return {"logits": self.classes(y), "boxes": self.boxes(y).sigmoid()}
