"""Operators of format version 2 in PyTorch. Booleans are the numbers 0 and 1 between nodes, as in the packed network.

Each function takes the node's attributes, its inputs and its weights by role, and gives the list of its outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attributes = Mapping[str, Any]
Weights = Mapping[str, Tensor]
RunNode = Callable[[Attributes, list[Tensor], Weights], Tensor | list[Tensor]]


def _one(function: Callable[[Tensor], Tensor]) -> RunNode:
    return lambda _, inputs, __: function(inputs[0])


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> RunNode:
    return lambda _, inputs, __: function(inputs[0], inputs[1])


def _truth(function: Callable[[Tensor, Tensor], Tensor]) -> RunNode:
    return lambda _, inputs, __: function(inputs[0], inputs[1]).float()


def _reduce(function: Callable[..., Tensor]) -> RunNode:
    return lambda a, inputs, _: function(inputs[0], dim=list(a["axes"]), keepdim=a["keep"])


def _slice(a: Attributes, inputs: list[Tensor], _: Weights) -> Tensor:
    index: list[slice] = [slice(None)] * inputs[0].ndim
    start, stop, step = slice(a["start"], a["stop"], a["step"]).indices(inputs[0].shape[a["axis"]])
    index[a["axis"]] = slice(start, stop, step)
    return inputs[0][tuple(index)]


def _rms_norm(a: Attributes, inputs: list[Tensor], weights: Weights) -> Tensor:
    shape = inputs[0].shape[-a["axes"] :]
    weight = weights.get("weight")
    return F.rms_norm(inputs[0], shape, None if weight is None else weight.view(shape), a["epsilon"])


def _group_norm(a: Attributes, inputs: list[Tensor], weights: Weights) -> Tensor:
    return F.group_norm(inputs[0], a["groups"], weights.get("weight"), weights.get("bias"), a["epsilon"])


def _pad(a: Attributes, inputs: list[Tensor], _: Weights) -> Tensor:
    ends = [end for pair in reversed(list(zip(a["before"], a["after"], strict=True))) for end in pair]
    while ends[-2:] == [0, 0] and len(ends) > 2:
        ends = ends[:-2]
    if a["mode"] == "constant":
        return F.pad(inputs[0], ends, value=a["value"])
    return F.pad(inputs[0], ends, mode=a["mode"])


def _pixel_shuffle(a: Attributes, inputs: list[Tensor], _: Weights) -> Tensor:
    batch, channels, height, width = inputs[0].shape
    high, wide = a["factor"]
    planes = channels // (high * wide)
    if a["order"] == "channel_major":
        moved = inputs[0].reshape(batch, planes, high, wide, height, width).permute(0, 1, 4, 2, 5, 3)
    else:
        moved = inputs[0].reshape(batch, high, wide, planes, height, width).permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(batch, planes, height * high, width * wide)


def _upsample(a: Attributes, inputs: list[Tensor], _: Weights) -> Tensor:
    size = list(a["output"])
    if a["mode"] == "nearest":
        return F.interpolate(inputs[0], size)
    return F.interpolate(inputs[0], size, mode="bilinear", align_corners=a["align_corners"])


def _matmul(a: Attributes, inputs: list[Tensor], _: Weights) -> Tensor:
    return inputs[0] @ (inputs[1].transpose(-1, -2) if a["transpose_b"] else inputs[1])


def _attention(a: Attributes, inputs: list[Tensor], _: Weights) -> Tensor:
    mask = None if a["mask"] == "none" else inputs[3]
    if a["mask"] == "keep" and mask is not None:
        mask = mask != 0
    if a["causal"] and mask is not None:
        lower = torch.ones(inputs[0].shape[-2], inputs[1].shape[-2], dtype=torch.bool).tril()
        mask = mask & lower if mask.dtype == torch.bool else mask.masked_fill(~lower, float("-inf"))
    return F.scaled_dot_product_attention(
        inputs[0],
        inputs[1],
        inputs[2],
        attn_mask=mask,
        is_causal=a["causal"] and mask is None,
        scale=a["scale"],
    )


def _recurrent(a: Attributes, inputs: list[Tensor], weights: Weights, *, gates: int) -> list[Tensor]:
    """torch's own loop over the steps; a reverse one turns the sequence before and after it."""
    x = inputs[0].flip(1) if a["reverse"] else inputs[0]
    hidden = weights["hidden"].shape[1]
    zeros = x.new_zeros(gates * hidden)
    bias, own = weights.get("bias", zeros), zeros
    if "hidden_bias" in weights:
        own = torch.cat([own[: (gates - 1) * hidden], weights["hidden_bias"]])
    parameters = [weights["input"], weights["hidden"], bias, own]
    states = [state[None] for state in inputs[1:]] or [x.new_zeros(1, x.shape[0], hidden)] * (gates - 2)
    settings = (
        True,
        1,
        0.0,
        False,
        False,
        True,
    )  # biases, layers, dropout, training, two directions, batch first
    if gates == 4:
        y, *last = torch.lstm(x, states, parameters, *settings)
    else:
        y, *last = torch.gru(x, states[0], parameters, *settings)
    return [y.flip(1) if a["reverse"] else y, *(state[0] for state in last)]


RUN: dict[str, RunNode] = {
    **{
        name: _one(getattr(torch, name))
        for name in (
            "tanh",
            "exp",
            "log",
            "sqrt",
            "rsqrt",
            "abs",
            "neg",
            "erf",
            "sin",
            "cos",
            "floor",
            "sign",
        )
    },
    "hardswish": _one(F.hardswish),
    "hardsigmoid": _one(F.hardsigmoid),
    "mish": _one(F.mish),
    "leaky_relu": lambda a, inputs, _: F.leaky_relu(inputs[0], a["slope"]),
    "elu": lambda a, inputs, _: F.elu(inputs[0], a["alpha"]),
    "softplus": lambda a, inputs, _: F.softplus(inputs[0], a["beta"], a["threshold"]),
    "clamp": lambda a, inputs, _: torch.clamp(inputs[0], a["low"], a["high"]),
    "affine": lambda a, inputs, _: inputs[0] * a["scale"] + a["shift"],
    "power": lambda a, inputs, _: inputs[0] ** a["exponent"],
    **{name: _two(getattr(torch, name)) for name in ("sub", "mul", "div", "maximum", "minimum")},
    "equal": _truth(torch.eq),
    "not_equal": _truth(torch.ne),
    "less": _truth(torch.lt),
    "less_equal": _truth(torch.le),
    "where": lambda _, inputs, __: torch.where(inputs[0] != 0, inputs[1], inputs[2]),
    "mean": _reduce(torch.mean),
    "sum": _reduce(torch.sum),
    "max": _reduce(torch.amax),
    "min": _reduce(torch.amin),
    "argmax": lambda a, inputs, _: torch.argmax(inputs[0], a["axis"], a["keep"]).float(),
    "cumsum": lambda a, inputs, _: torch.cumsum(inputs[0], a["axis"]),
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "permute": lambda a, inputs, _: inputs[0].permute(0, *a["order"]),
    "slice": _slice,
    "flip": lambda a, inputs, _: inputs[0].flip(list(a["axes"])),
    "pad": _pad,
    "pixel_shuffle": _pixel_shuffle,
    "upsample": _upsample,
    "matmul": _matmul,
    "attention": _attention,
    "embedding": lambda _, inputs, weights: F.embedding(inputs[0].long(), weights["weight"]),
    "lstm": lambda a, inputs, weights: _recurrent(a, inputs, weights, gates=4),
    "gru": lambda a, inputs, weights: _recurrent(a, inputs, weights, gates=3),
}
