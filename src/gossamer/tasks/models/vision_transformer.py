"""DeiT-Tiny ("Training data-efficient image transformers", ICML 2021, table 1): 12 blocks of width 192 with 3 heads, patches of 16x16.

Names are timm's: `cls_token`, `pos_embed`, `patch_embed.proj`, `blocks.0.attn.qkv`, `blocks.0.mlp.fc1`, ..., `norm`, `head`.
T = tokens (patches and one class token), D = width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention; x [N, T, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, D] -> [N, T, D]."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, tokens, width))
        return projected


class Mlp(nn.Module):
    """Linear, GELU, linear; x [N, T, D]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, D] -> [N, T, D]."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, D] -> [N, T, D]."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    """An image as tokens: a convolution whose kernel is its stride."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, T - 1, D]."""
        tokens: Tensor = self.proj(x)
        return tokens.flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Patches, class token, positions, blocks, norm, linear layer on the class token."""

    def __init__(self, *, size: int, patch: int, width: int, depth: int, heads: int, classes: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, size, size] -> logits [N, classes]."""
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        out: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return out


def deit_tiny(num_classes: int = 1000) -> VisionTransformer:
    """DeiT-Tiny for 224x224 images, 5.7 million parameters.

    >>> sum(p.numel() for p in deit_tiny().parameters())
    5717416
    """
    return VisionTransformer(size=224, patch=16, width=192, depth=12, heads=3, classes=num_classes)
