"""Recurrent networks and convolutions over time."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TextCnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 8)
        self.convs = nn.ModuleList([nn.Conv1d(8, 4, k) for k in (2, 3, 4)])
        self.head = nn.Linear(12, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids).transpose(1, 2)
        found = [F.relu(conv(x)) for conv in self.convs]
        return self.head(torch.cat([F.max_pool1d(y, y.size(2)).squeeze(2) for y in found], 1))


class Language(nn.Module):
    def __init__(self, kind: str = "lstm", both: bool = False) -> None:
        super().__init__()
        make = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]
        self.words = nn.Embedding(40, 8)
        self.layers = make(8, 12, num_layers=2, bidirectional=both, batch_first=kind == "lstm", dropout=0.5)
        self.head = nn.Linear(24 if both else 12, 40)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(ids)
        if self.layers.batch_first:
            y, (h, _) = self.layers(x)
        else:
            y, h = self.layers(x.transpose(0, 1))
            y = y.transpose(0, 1)
        return self.head(y).log_softmax(-1), h[-1]


class Translation(nn.Module):
    """Encoder, and a decoder that attends to it step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.encoder, self.cell = (
            nn.Embedding(40, 8),
            nn.GRU(8, 12, batch_first=True),
            nn.GRUCell(8, 12),
        )
        self.join, self.head = nn.Linear(24, 12), nn.Linear(12, 40)

    def forward(self, ids: Tensor) -> Tensor:
        keys, last = self.encoder(self.words(ids))
        h, outs = last[0], []
        for step in range(3):
            h = self.cell(self.words(ids[:, step]), h)
            scores = torch.bmm(keys, h.unsqueeze(2)).squeeze(2)
            context = torch.bmm(torch.softmax(scores, 1).unsqueeze(1), keys).squeeze(1)
            outs.append(self.head(torch.tanh(self.join(torch.cat([h, context], 1)))))
        return torch.stack(outs, dim=1)


class WaveNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 6, 1)
        self.wide = nn.ModuleList([nn.Conv1d(6, 12, 2, dilation=d) for d in (1, 2, 4)])
        self.skip, self.head = (
            nn.ModuleList([nn.Conv1d(6, 5, 1) for _ in range(3)]),
            nn.ConvTranspose1d(5, 3, 4, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.first(x), 0
        for d, wide, skip in zip((1, 2, 4), self.wide, self.skip, strict=True):
            y = F.glu(wide(F.pad(x, (d, 0))), dim=1)
            total, x = total + skip(y), x + y
        return self.head(F.relu(total))


class Crnn(nn.Module):
    """Convolutions over a spectrogram, then LSTM cells."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.lstm, self.cell, self.head = (
            nn.LSTM(32, 10, bidirectional=True, batch_first=True),
            nn.LSTMCell(20, 6),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.hardtanh(self.bn(self.conv(x)), -2.0, 2.0), (2, 3))
        y, _ = self.lstm(x.permute(0, 3, 1, 2).flatten(2))
        h, c = y.new_zeros(y.size(0), 6), y.new_zeros(y.size(0), 6)
        for step in range(y.size(1)):
            h, c = self.cell(y[:, step], (h, c))
        return self.head(h)


class Tcn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3, padding=4, dilation=2))
        self.b, self.norm = nn.Conv1d(6, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)[:, :, :-4].contiguous()
        y = self.norm(self.b(F.interpolate(F.avg_pool1d(y, 2), scale_factor=2)))
        return self.head(F.adaptive_avg_pool1d(y, 1).squeeze(-1))
