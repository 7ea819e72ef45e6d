"""The mask owner: zeros, layouts, masks that are given, and what a step costs."""

import collections
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gossamer.errors import PatternError
from gossamer.training import Sparsifier, Static
from tests.training.helpers import (
    NOTHING,
    assert_dropped_is_zero,
    backward,
    bottleneck,
    is_plus_zero,
    mlp,
    rigl,
)


def test_infinite_gradients_at_dropped_places_do_no_harm() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    for name, parameter in model.named_parameters():
        parameter.grad = torch.full_like(parameter, -1.0)
        if name in sparsifier.masks:
            parameter.grad[~sparsifier.masks[name]] = float("nan") if "0" in name else float("-inf")
    optimizer.step()
    assert_dropped_is_zero(sparsifier, model, optimizer)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_between_edits_a_step_costs_two_fills_a_weight() -> None:
    """No product, no copy, no new mask: also where torch forgets strides (1x1 filters in channels_last)."""

    class Calls(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(str(function))
            return function(*args, **(kwargs or {}))

    def names(*, masked: bool) -> list[str]:
        model = bottleneck().to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if masked:
            assert len(Sparsifier(model, rigl(stop=4, allocation="uniform"), optimizer).masks) == 3
        for step in range(5):
            backward(model, step)
            with Calls() as calls:
                optimizer.step()
        return sorted(calls.names)

    extra = collections.Counter(names(masked=True)) - collections.Counter(names(masked=False))
    assert extra == {"aten.masked_fill_.Scalar": 2 * 3}


def test_channels_last_and_a_later_change_of_layout() -> None:
    results = []
    for layout in ("contiguous", "before", "after"):
        model = bottleneck()
        if layout == "before":
            model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        sparsifier = Sparsifier(model, rigl(), optimizer)
        if layout == "after":
            model.to(memory_format=torch.channels_last)
        for step in range(4):
            backward(model, step)
            optimizer.step()
            assert_dropped_is_zero(sparsifier, model, optimizer)
        if layout != "contiguous":
            assert sparsifier.masks["conv1.weight"].is_contiguous(memory_format=torch.channels_last)
        results.append(sparsifier.history[0])
    assert results[0] == results[1] == results[2]


def test_given_masks() -> None:
    model = mlp()
    masks = {"2.weight": torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) > 0.5}
    sparsifier = Sparsifier(model, Static(initial="given"), masks=masks)
    assert torch.equal(sparsifier.masks["2.weight"], masks["2.weight"])
    assert is_plus_zero(model[2].weight[~masks["2.weight"]].detach())
    sparsifier.finalize()
    with pytest.raises(PatternError, match=r"masks: '2\.weight'"):
        Sparsifier(mlp(), Static(initial="given", pattern="2:4"), masks=masks)
