"""Pruning a network at once, to measure its speed."""

from __future__ import annotations

import pytest
from torch import nn

from gossamer.bench.fresh import prune_at_once
from gossamer.errors import GossamerError


def test_first_and_last_are_protected_where_there_is_a_third():
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    masks = prune_at_once(model, sparsity=0.5)
    assert list(masks) == ["2.weight"]
    assert int(masks["2.weight"].sum()) == 1024 - 832  # half of 512 + 1024 + 128 are absent
    assert not model[2].weight[~masks["2.weight"]].any()


def test_small_networks_and_patterns():
    (mask,) = prune_at_once(nn.Linear(16, 8), sparsity=0.75, pattern="gs:8,1").values()
    assert int(mask.sum()) == 32
    (mask,) = prune_at_once(nn.Conv2d(4, 8, 3), sparsity=None, pattern="2:4").values()
    assert int(mask.sum()) == 8 * 4 * 9 // 2


@pytest.mark.parametrize("sparsity", [1.2, -0.1, 1.0])
def test_impossible_sparsity(sparsity):
    with pytest.raises(GossamerError, match="sparsity"):
        prune_at_once(nn.Linear(16, 8), sparsity=sparsity)
