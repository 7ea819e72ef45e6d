"""Bytes planned against bytes packed, and by hand."""

import pytest
import torch

from gossamer import formats
from gossamer.sparsity.costs import LayerShape, bytes_packed
from gossamer.sparsity.patterns import parse_pattern
from tests.contracts.table import PATTERNS, UNSTORED


@pytest.mark.parametrize(("text", "size"), [
    ("2:4", 4096 * 2 + 4096 * 2 / 8),          # positions of 2 bits
    ("1:6", 1365 * 2 + 1365 * 3 / 8),          # 3 bits for 6 places
    ("gs:8,8", 4096 * 2 + 4096 * 3 / 8 + 128 * 4 / 8),    # 8 quotients; 0 to 8 bundles in each of 128 rows
    ("gs:8,1", 4096 * 2 + 4096 * 6 / 8 + 16 * 7 / 8),     # 64 columns; 0 to 64 bundles in each of 16 groups
    ("block:4x1", 4096 * 2 + 1024),
    ("window:8", 4096 * 2 + 512 * 4),
    ("unstructured", 4096 * 3),
])  # fmt: skip
def test_bytes_by_hand(text: str, size: float):
    layer = LayerShape(weight=(128, 64)) if text != "1:6" else LayerShape(weight=(65, 126))
    assert bytes_packed(layer, 4096 if text != "1:6" else 1365, parse_pattern(text)) == pytest.approx(
        size, rel=1e-9
    )


@pytest.mark.parametrize("density", [0.002, 0.02, 0.1, 0.5])
@pytest.mark.parametrize("text", PATTERNS)
def test_planned_and_packed_bytes_agree(text: str, density: float):
    shape, pattern = (192, 576), parse_pattern(text)
    counts, target = pattern.counts(shape), pattern.target(shape)
    num_kept = target if target is not None else counts[round(density * (len(counts) - 1))]
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(5))
    name, parameters = formats.for_pattern("unstructured" if text in UNSTORED else text)
    packed = formats.pack(scores, pattern.mask(scores, num_kept).numpy(), format=name, **parameters)
    assert bytes_packed(LayerShape(weight=shape), num_kept, pattern) == pytest.approx(
        packed.nbytes, rel=0.02, abs=2
    )


def test_what_dense_stores_in_less_is_planned_dense():
    layer = LayerShape(weight=(8, 8))
    assert bytes_packed(layer, 64, parse_pattern("unstructured")) == 128
    assert bytes_packed(layer, 60, parse_pattern("unstructured"), value_bytes=4) == 256
