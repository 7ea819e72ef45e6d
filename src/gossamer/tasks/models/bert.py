"""BERT-base ("Pre-training of Deep Bidirectional Transformers", NAACL 2019): 12 layers of width 768 with 12 heads, vocabulary 30,522.

Names are those of transformers' BertForSequenceClassification, without its prefix `bert.`: `embeddings.word_embeddings`,
`encoder.layer.0.attention.self.query`, ..., `pooler.dense`, `classifier`. S = sequence length, D = width. Deviation: token types are
all 0, and there is no padding mask.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-12


class Embeddings(nn.Module):
    """Words plus positions plus the one token type, normalized."""

    def __init__(self, vocabulary: int, positions: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [N, S] -> [N, S, D]."""
        where = self.position_embeddings.weight[: ids.shape[1]] + self.token_type_embeddings.weight[0]
        out: Tensor = self.LayerNorm(self.word_embeddings(ids) + where)
        return out


class SelfAttention(nn.Module):
    """Multi-head attention with three separate linear layers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, S, D] -> [N, S, D]."""
        batch, length, width = x.shape
        q, k, v = (
            layer(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        out = functional.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).reshape(batch, length, width)


class Residual(nn.Module):
    """norm(dense(x) + residual)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x [N, S, inputs], residual [N, S, D] -> [N, S, D]."""
        out: Tensor = self.LayerNorm(self.dense(x) + residual)
        return out


class Layer(nn.Module):
    """Attention and a feed-forward network, each followed by its residual and a norm."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": SelfAttention(width, heads), "output": Residual(width, width)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = Residual(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, S, D] -> [N, S, D]."""
        x = self.attention["output"](self.attention["self"](x), x)
        out: Tensor = self.output(functional.gelu(self.intermediate["dense"](x)), x)
        return out


class Bert(nn.Module):
    """Embeddings, layers, pooler on the first token, classifier."""

    def __init__(self, *, vocabulary: int, positions: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, positions, width)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(Layer(width, heads, 4 * width) for _ in range(depth))}
        )
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})
        self.classifier = nn.Linear(width, 2)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [N, S] -> logits [N, 2]."""
        x = self.embeddings(input_ids)
        layers = self.encoder["layer"]
        assert isinstance(layers, nn.ModuleList)
        for layer in layers:
            x = layer(x)
        out: Tensor = self.classifier(torch.tanh(self.pooler["dense"](x[:, 0])))
        return out


def bert_base(vocabulary: int = 30522) -> Bert:
    """BERT-base with a classifier of two classes, 109 million parameters.

    >>> sum(p.numel() for p in bert_base(vocabulary=1000).parameters())
    86810882
    """
    return Bert(vocabulary=vocabulary, positions=512, width=768, depth=12, heads=12)
