"""Bytes a kept weight: at most 2 % above the index bits that the documentation promises, values included."""

import numpy as np
import pytest
import torch

from gossamer import formats
from gossamer.sparsity.patterns import parse_pattern

SHAPES = {"linear": (256, 1024), "convolution 3x3": (128, 1152)}
BITS = {  # pattern: index bits a kept weight at (columns)
    "unstructured": lambda columns: 8,
    "window:8": lambda columns: 4,
    "block:4x1": lambda columns: 2,
    "block:8x1": lambda columns: 1,
    "block:16x1": lambda columns: 0.5,
    "gs:8,8": lambda columns: np.ceil(np.log2(columns / 8)),
    "gs:8,1": lambda columns: np.ceil(np.log2(columns)),
    "gs:8,4": lambda columns: np.ceil(np.log2(columns)),
    "2:4": lambda columns: 2,
    "1:8": lambda columns: 3,
    "1:16": lambda columns: 4,
}


@pytest.mark.parametrize("value_bits", [16, 32])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("pattern", BITS)
def test_bytes_a_kept_weight(pattern: str, shape: tuple[int, int], value_bits: int):
    rule = parse_pattern(pattern)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    counts = rule.counts(shape)
    target = rule.target(shape)
    count = target if target is not None else min(counts, key=lambda n: abs(n - 0.1 * values.numel()))
    mask = rule.mask(values.abs(), count).numpy()
    name, parameters = formats.for_pattern(pattern)
    packed = formats.pack(values.numpy(), mask, format=name, dtype=f"float{value_bits}", **parameters)
    bits = 8 * formats.nbytes(packed) / packed.num_kept
    assert bits <= 1.02 * (value_bits + BITS[pattern](shape[1]))
