"""One recurrent layer, input and hidden size 1024: torch's own modules, which give (all outputs, last state). x [N, S, 1024]."""

from __future__ import annotations

from torch import nn


def lstm(inputs: int = 1024, hidden: int = 1024, layers: int = 1) -> nn.LSTM:
    """LSTM with the batch first; S = steps. Parameters `weight_ih_l0` [4 hidden, inputs], `weight_hh_l0` [4 hidden, hidden], biases.

    >>> tuple(lstm(8, 4).weight_hh_l0.shape)
    (16, 4)
    """
    return nn.LSTM(inputs, hidden, layers, batch_first=True)


def gru(inputs: int = 1024, hidden: int = 1024, layers: int = 1) -> nn.GRU:
    """GRU with the batch first; three gates where the LSTM has four.

    >>> tuple(gru(8, 4).weight_hh_l0.shape)
    (12, 4)
    """
    return nn.GRU(inputs, hidden, layers, batch_first=True)
