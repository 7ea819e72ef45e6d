"""Dense gradients are taken at edit steps before they are masked, clipped or replaced."""

import pytest
import torch
from torch import Tensor, nn

from gossamer.training import Sparsifier
from tests.training.helpers import (
    NOTHING,
    rigl,
)


@pytest.mark.parametrize("clip_first", [None, "in place", "new tensor"])
def test_growth_ranks_dense_gradients_taken_before_masking(clip_first: str | None) -> None:
    """RigL by hand: one linear layer, gradient known, so the grown entries are the absent ones with the largest |g|."""
    torch.manual_seed(0)
    layer = nn.Linear(10, 6, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    method = rigl(every=1, stop=2, exclude_dropped=True)
    sparsifier = Sparsifier(nn.Sequential(layer), method, optimizer, protect=NOTHING)
    before, weight = sparsifier.masks["0.weight"].clone(), layer.weight.detach().clone()
    layer.weight.grad = torch.randn(6, 10)
    dense = layer.weight.grad.clone()
    if clip_first:
        sparsifier.mask_gradients()
        sparsifier.mask_gradients()
        norm = torch.nn.utils.clip_grad_norm_(layer.parameters(), 1e-3)
        assert norm == pytest.approx(float(dense[before].norm()))
    if clip_first == "new tensor":
        layer.weight.grad = layer.weight.grad.clamp(-1e-4, 1e-4)
    optimizer.step()
    change = sparsifier.history[1].layers["0.weight"]
    drop = weight.abs().masked_fill(~before, float("inf")).flatten().argsort(stable=True)[: change.dropped]
    grow = dense.abs().masked_fill(before, -1.0).flatten().argsort(descending=True)[: change.grown]
    expected = before.flatten().clone()
    expected[drop], expected[grow] = False, True
    assert change.dropped == change.grown > 0
    assert torch.equal(sparsifier.masks["0.weight"].flatten(), expected)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_scores_taken_for_a_step_that_never_came_are_taken_again(set_to_none: bool) -> None:
    """mask_gradients, then no step (the scaler skipped it), then another batch whose gradients differ."""

    def final(*, stale: bool) -> Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(10, 6, bias=False)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        sparsifier = Sparsifier(nn.Sequential(layer), rigl(every=1, stop=2), optimizer, protect=NOTHING)
        if stale:
            layer.weight.grad = torch.full((6, 10), float("inf"))
            sparsifier.mask_gradients()
            optimizer.zero_grad(set_to_none=set_to_none)
        gradient = torch.randn(6, 10, generator=torch.Generator().manual_seed(5))
        if layer.weight.grad is None:
            layer.weight.grad = gradient
        else:
            layer.weight.grad += gradient
        optimizer.step()
        return sparsifier.masks["0.weight"]

    assert torch.equal(final(stale=True), final(stale=False))
