"""Text encoders and decoders on token ids."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, by_hand: bool) -> None:
        super().__init__()
        self.heads, self.by_hand = heads, by_hand
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.size()[:-1], self.heads, -1).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        if self.by_hand:
            scores = torch.matmul(q / math.sqrt(q.size(-1)), k.transpose(2, 3))
            away = (mask == 0).view(x.size(0), 1, 1, x.size(1)).expand_as(scores)
            y = torch.matmul(F.softmax(scores.masked_fill(away, torch.finfo(scores.dtype).min), dim=-1), v)
        else:
            extended = (1.0 - mask[:, None, None, :].to(q.dtype)) * torch.finfo(q.dtype).min
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=extended)
        return self.o(y.transpose(1, 2).contiguous().view(x.size(0), -1, x.size(2)))


class Bert(nn.Module):
    def __init__(self, by_hand: bool = False, types: bool = True, positions: str = "arange") -> None:
        super().__init__()
        self.kind, width = positions, 16
        self.words, self.places = nn.Embedding(40, width, padding_idx=0), nn.Embedding(64, width)
        self.types = nn.Embedding(2, width) if types else None
        self.register_buffer("numbers", torch.arange(64).expand((1, -1)), persistent=False)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.attn = nn.ModuleList([SelfAttention(width, 4, by_hand) for _ in range(2)])
        self.up = nn.ModuleList([nn.Linear(width, 32) for _ in range(2)])
        self.down = nn.ModuleList([nn.Linear(32, width) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(4)])
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        if self.kind == "counted":
            real = ids.ne(0).int()
            places = (torch.cumsum(real, dim=1).type_as(real) * real).long()
        else:
            places = self.numbers[:, : ids.size(1)]
        x = self.words(ids) + self.places(places)
        if self.types is not None:
            x = x + self.types(torch.zeros_like(ids))
        x = self.norm(x)
        for i, attn in enumerate(self.attn):
            x = self.norms[2 * i](x + attn(x, mask))
            x = self.norms[2 * i + 1](x + self.down[i](F.gelu(self.up[i](x))))
        return {"last": x, "logits": self.head(torch.tanh(self.pooler(x[:, 0])))}


class TorchEncoder(nn.Module):
    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.first, self.words = batch_first, nn.Embedding(40, 16)
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, batch_first=batch_first, norm_first=not batch_first, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        table = torch.zeros(64, 16)
        steps = torch.arange(64)[:, None] * torch.exp(torch.arange(0, 16, 2) * (-math.log(1e4) / 16))
        table[:, 0::2], table[:, 1::2] = torch.sin(steps), torch.cos(steps)
        self.register_buffer("table", table)
        self.head = nn.Linear(16, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.words(ids) * math.sqrt(16) + self.table[: ids.size(1)]
        x = x if self.first else x.transpose(0, 1)
        x = self.encoder(x, src_key_padding_mask=mask == 0)
        x = x if self.first else x.transpose(0, 1)
        kept = mask.unsqueeze(-1).expand(x.size()).float()
        return self.head((x * kept).sum(1) / torch.clamp(kept.sum(1), min=1e-9))


class Gpt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(40, 16), nn.Embedding(64, 16)
        self.qkv, self.proj, self.norm = nn.Linear(16, 48), nn.Linear(16, 16), nn.LayerNorm(16)
        self.register_buffer("causal", torch.tril(torch.ones(64, 64)).view(1, 1, 64, 64))

    def forward(self, ids: Tensor) -> Tensor:
        b, t = ids.shape
        x = self.words(ids) + self.places(torch.arange(t))
        for by_hand in (True, False):
            q, k, v = self.qkv(self.norm(x)).split(16, dim=2)
            q, k, v = (y.view(b, t, 4, 4).transpose(1, 2) for y in (q, k, v))
            if by_hand:
                scores = (q @ k.transpose(-2, -1)) / math.sqrt(4)
                y = F.softmax(scores.masked_fill(self.causal[:, :, :t, :t] == 0, float("-inf")), dim=-1) @ v
            else:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.transpose(1, 2).contiguous().view(b, t, 16))
        return F.linear(self.norm(x), self.words.weight)


class Llama(nn.Module):
    """Root-mean-square norms, rotated positions, fewer heads of keys than of queries, gated units."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.weight = nn.Embedding(40, 16), nn.Parameter(torch.rand(16) + 0.5)
        self.norm = nn.RMSNorm(16)
        self.q, self.k, self.v = (
            nn.Linear(16, 16, bias=False),
            nn.Linear(16, 8, bias=False),
            nn.Linear(16, 8, bias=False),
        )
        self.gate, self.up, self.down = nn.Linear(16, 24), nn.Linear(16, 24), nn.Linear(24, 16)
        self.register_buffer("inverse", 1.0 / 100 ** (torch.arange(0, 4, 2) / 4))

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        a, b = x[..., :2], x[..., 2:]
        return x * cos + torch.cat((-b, a), dim=-1) * sin

    def forward(self, ids: Tensor) -> Tensor:
        b, t = ids.shape
        x = self.words(ids)
        y = self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        angles = (
            self.inverse[None, :, None].expand(b, -1, 1) @ torch.arange(t)[None, None, :].float()
        ).transpose(1, 2)
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        q, k, v = (f(y).view(b, t, -1, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = (self.rotate(z, angles.cos(), angles.sin()) for z in (q, k))
        k, v = (z[:, :, None].expand(b, 2, 2, t, 4).reshape(b, 4, t, 4) for z in (k, v))
        mask = torch.full((t, t), float("-inf")).triu(1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + y.transpose(1, 2).reshape(b, t, 16)
        y = self.norm(x)
        return F.linear(x + self.down(F.silu(self.gate(y)) * self.up(y)), self.words.weight)
