"""Pruning a network at once, to measure its speed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer.bench.fresh import prune_at_once, random_masks
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


def test_random_masks_are_uniform_and_leave_stem_head_and_depthwise():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 16, 1),
        nn.Conv2d(16, 16, 3),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    masks = random_masks(model, sparsity=0.75)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"2.weight": 32, "3.weight": 576}
    assert not model[3].weight[~masks["3.weight"]].any()
    again = random_masks(model, sparsity=0.75, seed=1)
    assert not torch.equal(masks["3.weight"], again["3.weight"])


def test_a_token_embedding_is_the_stem():
    model = nn.ModuleList([nn.Embedding(10, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)])
    assert list(random_masks(model, sparsity=0.5)) == ["1.weight", "2.weight"]


def test_a_pattern_that_fixes_its_sparsity():
    (mask,) = random_masks(nn.Linear(16, 8), sparsity=None, pattern="2:4").values()
    assert int(mask.sum()) == 64
    with pytest.raises(GossamerError, match="expected a number"):
        random_masks(nn.Linear(16, 8), sparsity=None)


def test_random_masks_keep_the_size_of_values():
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    nn.init.ones_(model[0].weight)
    random_masks(model, sparsity=0.75)
    assert sorted(set(model[0].weight.flatten().tolist())) == [0.0, 2.0]
