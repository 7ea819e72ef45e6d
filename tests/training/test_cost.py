"""Costs worked by hand, and against a sum over the masks of every single step."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from gossamer.errors import CheckpointError, EngineError
from gossamer.sparsity.criteria import CRITERIA
from gossamer.training import METHODS, Sparsifier
from gossamer.training.compact import compact_
from gossamer.training.cost import BatchProfile, CostMeter, planned_cost, profile_batch
from tests.training.helpers import MLP, NOTHING, backward, batch, bottleneck, mlp, rigl

PLACES = {"stem": 36, "conv1": 36, "conv2": 36, "shortcut": 36, "fc": 1}


def profile(model: nn.Module, shape: tuple[int, ...] = (4, 1, 6, 6)) -> BatchProfile:
    x, y = batch(0, shape)
    return profile_batch(model, lambda: nn.functional.cross_entropy(model(x), y), examples=shape[0])


def test_uses_of_a_network_by_hand() -> None:
    model = bottleneck()
    model.conv2.weight.requires_grad_(False)
    layers = profile(model).layers
    assert {name.removesuffix(".weight"): use.positions for name, use in layers.items()} == PLACES
    assert [use.needs_dx for use in layers.values()] == [False, True, True, True, True]
    assert [use.trains for use in layers.values()] == [True, True, False, True, True]
    # stem 72 weights forward and dW; conv1 8*16*9 thrice; conv2 256 forward and dX; shortcut 128 thrice; fc 64 thrice
    meter = CostMeter(layers)
    meter.step(2)
    assert meter.report().macs == 2 * (36 * (72 * 2 + 1152 * 3 + 256 * 2 + 128 * 3) + 64 * 3)
    assert meter.report().macs == meter.report().dense_macs


def test_compact_layers_are_used_as_their_dense_forms() -> None:
    dense = bottleneck()
    compact = deepcopy(dense)
    compact_(compact, 0.5)
    mine, theirs = profile(compact), profile(dense)
    assert mine.layers == theirs.layers
    assert mine.activations > 0.5 * theirs.activations


class Odd(nn.Module):
    """Layers whose output does not tell how often a weight is used, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose1d(4, 6, 2, stride=2)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(6, 2, kdim=5, vdim=3, batch_first=True)
        self.twice = nn.Linear(6, 6)
        self.rnn = nn.LSTM(6, 7, batch_first=True)

    def forward(self, x: torch.Tensor, memory: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        tokens = self.up(x).transpose(1, 2)
        tokens = self.attention(tokens, tokens, tokens)[0]
        tokens = self.cross(tokens, memory, values)[0]
        return self.rnn(self.twice(self.twice(tokens)))[0].sum()


def test_attention_recurrence_and_layers_called_twice() -> None:
    model = Odd()
    inputs = torch.ones(3, 4, 5), torch.ones(3, 7, 5), torch.ones(3, 7, 3)
    layers = profile_batch(model, lambda: model(*inputs), examples=3).layers
    assert {name: use.positions for name, use in layers.items()} == {
        "up.weight": 5,  # once for each input position
        "attention.in_proj_weight": 10,
        "attention.out_proj.weight": 10,
        "cross.q_proj_weight": 10,
        "cross.k_proj_weight": 7,
        "cross.v_proj_weight": 7,
        "cross.out_proj.weight": 10,
        "twice.weight": 20,
        "rnn.weight_ih_l0": 10,
        "rnn.weight_hh_l0": 10,
    }
    assert [name for name, use in layers.items() if not use.needs_dx] == ["up.weight"]


def run(method: str, steps: int = 9, meter_from: dict[str, Any] | None = None) -> tuple[CostMeter, int, int]:
    """A meter beside training, and the sums over the masks that each step really had."""
    settings = {"one_shot": {"at": 3}, "gradual": {"every": 2, "stop": 6}, "static": {}}
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    used = METHODS[method](
        sparsity=0.6, **settings.get(method, {"every": 2, "stop": 9, "drop_fraction": 0.5})
    )
    sparsifier = Sparsifier(model, used, optimizer, protect=NOTHING)
    meter = CostMeter(profile(model, MLP).layers, sparsifier)
    total = peak = 0
    for step in range(steps):
        kept = {name: int(mask.sum()) for name, mask in sparsifier.masks.items()}
        dense_gradients = method == "rigl" and bool(used.edits_at(step + 1))
        for place, (name, mask) in enumerate(sparsifier.masks.items()):
            computed = mask.numel() if dense_gradients else kept[name]
            total += 8 * (kept[name] * (1 if place == 0 else 2) + computed)
        peak = max(peak, sum(kept.values()))
        backward(model, step, shape=MLP)
        optimizer.step()
        meter.step(8)
    return meter, total, peak


@pytest.mark.parametrize("method", ["one_shot", "gradual", "static", "set", "rigl"])
def test_a_run_equals_the_sum_over_its_masks(method: str) -> None:
    meter, total, peak = run(method)
    report = meter.report()
    assert report.macs == total
    assert report.examples == 72
    assert report.dense_macs == 72 * (48 * 2 + 64 * 3 + 32 * 3)
    # the trace also holds the counts after the last edit, which no step has used yet
    assert sum(report.trace[0].num_kept) == (144 if method in ("one_shot", "gradual") else peak)
    assert report.trace[0].step == 0
    assert report.peak_kept.keys() == {"0.weight", "2.weight", "4.weight"}


@pytest.mark.parametrize("method", ["one_shot", "gradual", "static", "set", "rigl"])
def test_a_plan_equals_the_run(method: str) -> None:
    meter = run(method)[0]
    assert meter.sparsifier is not None
    plan = planned_cost(
        meter.layers, meter.sparsifier.method, meter.sparsifier.shapes, num_steps=9, batch_size=8
    )
    assert plan == meter.report()


def test_the_trace_has_one_point_a_change() -> None:
    report = run("one_shot")[0].report()
    assert [point.step for point in report.trace] == [0, 3]
    assert sum(report.trace[1].num_kept) == 58
    assert report.to_dict()["trace"][0] == {"step": 0, "num_kept": [48, 64, 32]}
    assert len(run("rigl")[0].report().trace) == 1  # exchanges keep the counts


def test_growth_by_the_gradient_of_kept_weights_only_costs_nothing_more() -> None:
    assert (
        "gradient" in CRITERIA["magnitude_gradient"].needs
    )  # a score for dropping, taken where gradients exist anyway
    assert run("set")[0].report().macs < run("rigl")[0].report().macs


def test_what_a_sieve_leaves_out() -> None:
    model = mlp()
    meter = CostMeter(profile(model, MLP).layers)
    meter.leave_out(10)
    assert (meter.report().examples_left_out, meter.report().macs_left_out) == (10, 10 * 384)
    assert meter.report().macs == 0


def test_resumed_meter_equals_the_uninterrupted_one() -> None:
    def made() -> tuple[nn.Module, torch.optim.Optimizer, Sparsifier, CostMeter]:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        sparsifier = Sparsifier(
            model, METHODS["gradual"](sparsity=0.6, every=2, stop=6), optimizer, protect=NOTHING
        )
        return model, optimizer, sparsifier, CostMeter(profile(model, MLP).layers, sparsifier)

    first = second = made()
    for step in range(8):
        if step == 5:
            second = made()
            for old, new in zip(first, second, strict=True):
                new.load_state_dict(old.state_dict())
        for model, optimizer, _, meter in (first,) if first is second else (first, second):
            backward(model, step, shape=MLP)
            optimizer.step()
            meter.step(8)
    assert second[3].report() == first[3].report()
    assert len(first[3].report().trace) > 2


def test_state_and_profile_of_another_model_are_refused() -> None:
    meter = CostMeter(profile(mlp(), MLP).layers)
    with pytest.raises(CheckpointError, match=r"expected 5 weights from 'stem\.weight'"):
        CostMeter(profile(bottleneck()).layers).load_state_dict(meter.state_dict())
    model = bottleneck()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(EngineError, match="profiled on another model"):
        CostMeter(meter.layers, Sparsifier(model, rigl(), optimizer))


def test_a_step_without_an_edit_reads_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, rigl(every=50, stop=99), optimizer, protect=NOTHING)
    meter = CostMeter(profile(model, MLP).layers, sparsifier)
    monkeypatch.setattr(sparsifier, "summary", lambda: pytest.fail("masks were counted"))
    backward(model, 0, shape=MLP)
    optimizer.step()
    meter.step(8)
    assert meter.examples == 8
