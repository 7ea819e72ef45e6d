"""A budget over layers: exact totals, legal counts, protected layers, refusals with the range that can be reached."""

import math
import random
import re

import pytest
import torch

from gossamer.errors import BudgetError, PatternError
from gossamer.sparsity.allocation import Room, _round, allocate, erk, global_rank, uniform
from gossamer.sparsity.costs import LayerShape, bytes_packed, macs, parameters
from gossamer.sparsity.patterns import Unstructured, parse_pattern
from gossamer.units import Budget

RESNET = {
    "conv1": LayerShape(weight=(16, 3, 3, 3), positions=1024, dense="first layer"),
    "a": LayerShape(weight=(16, 16, 3, 3), positions=1024),
    "b": LayerShape(weight=(32, 16, 3, 3), positions=256),
    "c": LayerShape(weight=(64, 64, 3, 3), positions=64),
    "fc": LayerShape(weight=(10, 64), dense="last layer"),
}
NUMEL = 432 + 2304 + 4608 + 36864 + 640
SCORES = {
    name: torch.randn(layer.matrix, generator=torch.Generator().manual_seed(i)).abs()
    for i, (name, layer) in enumerate(RESNET.items())
}
RULES = {"uniform": "uniform", "erk": "erk", "global_rank": global_rank(SCORES)}
every_rule = pytest.mark.parametrize("how", RULES.values(), ids=RULES)


@every_rule
@pytest.mark.parametrize("text", ["unstructured", "block:4x1", "gs:8,1", "gs:8,8", "window:8"])
@pytest.mark.parametrize("sparsity", [0.0, 0.31, 0.5, 0.9, 0.95])
def test_the_total_is_the_nearest_legal_one(how, text, sparsity):
    pattern = parse_pattern(text)
    granted = allocate(RESNET, Budget.weights(sparsity), how, pattern)
    unit = pattern.counts((16, 144)).step
    assert abs(granted.num_kept - NUMEL * (1 - sparsity)) <= unit / 2
    assert granted.num_kept == sum(granted.counts.values())
    assert granted.sparsity == 1 - granted.num_kept / NUMEL
    assert granted.counts["conv1"] == 432
    assert dict(granted.dense) == {"conv1": "first layer", "fc": "last layer"}
    for name in ("a", "b", "c"):
        assert granted.counts[name] in pattern.counts(RESNET[name].matrix)
        assert granted.counts[name] >= unit


def test_erk_by_hand():
    layers = {
        "a": LayerShape(weight=(16, 16, 3, 3)),
        "b": LayerShape(weight=(32, 16, 3, 3)),
        "c": LayerShape(weight=(64, 64, 3, 3)),
    }
    kept = erk(layers, 2260, Unstructured())  # shares 38, 54, 134 of 226
    assert kept == pytest.approx({"a": 380, "b": 540, "c": 1340})
    kept = erk(layers, 2304 + 4608 + 30000, Unstructured())  # both small layers saturate
    assert kept == pytest.approx({"a": 2304, "b": 4608, "c": 30000})
    assert erk(layers, 2304 + 4608 + 36864, Unstructured()) == {"a": 2304, "b": 4608, "c": 36864}


def test_uniform_by_hand():
    assert uniform({"a": LayerShape(weight=(4, 5)), "b": LayerShape(weight=(2, 10))}, 4, Unstructured()) == {
        "a": 2,
        "b": 2,
    }


def test_global_rank_is_the_global_top_k():
    layers = {name: RESNET[name] for name in ("a", "b", "c")}
    granted = allocate(layers, Budget.weights(0.9), global_rank(SCORES), Unstructured())
    everything = torch.cat([SCORES[name].flatten() for name in layers])
    threshold = everything.sort(descending=True).values[granted.num_kept - 1]
    assert dict(granted.counts) == {name: int((SCORES[name] >= threshold).sum()) for name in layers}


def test_global_rank_leaves_every_layer_a_unit():
    scores = {name: score * (1e-6 if name == "a" else 1) for name, score in SCORES.items()}
    granted = allocate(RESNET, Budget.weights(0.9), global_rank(scores), parse_pattern("gs:8,1"))
    assert granted.counts["a"] == 8


def test_layers_on_which_the_pattern_cannot_live_stay_dense_and_count():
    layers = {"stem": LayerShape(weight=(16, 3, 3, 3)), "c": LayerShape(weight=(64, 64, 3, 3))}
    granted = allocate(layers, Budget.weights(0.9), "uniform", parse_pattern("gs:8,1"))
    assert "gs:8,1 needs columns divisible by 8" in granted.dense["stem"]
    assert granted.counts["stem"] == 432
    assert abs(granted.num_kept - 0.1 * (432 + 36864)) <= 4
    with pytest.raises(
        BudgetError, match=r"at least one layer that gs:8,1 can prune, got none \(stem: gs:8,1 needs"
    ):
        allocate({"stem": layers["stem"]}, Budget.weights(0.9), "uniform", parse_pattern("gs:8,1"))


def test_n_of_m_takes_its_own_sparsity():
    pattern = parse_pattern("2:4")
    for budget in (None, Budget.weights(0.5)):
        granted = allocate(RESNET, budget, "uniform", pattern)
        assert granted.counts["c"] == 36864 // 2
        assert granted.num_kept == 432 + 640 + (NUMEL - 432 - 640) // 2
    with pytest.raises(
        BudgetError,
        match=re.escape("2:4 fixes the sparsity of the layers it prunes: expected 0.5 or no sparsity at all"),
    ):
        allocate(RESNET, Budget.weights(0.9), "uniform", pattern)
    with pytest.raises(BudgetError, match="got 1 M MACs"):
        allocate(RESNET, Budget.macs(1e6), "uniform", pattern)


def test_an_unreachable_sparsity_says_what_can_be_reached():
    most = 1 - (432 + 640 + 3 * 8) / NUMEL
    assert allocate(RESNET, Budget.weights(most), "erk", parse_pattern("gs:8,1")).counts["c"] == 8
    with pytest.raises(
        BudgetError,
        match=r"expected a sparsity between 0 % and 97.56 %, got 99 %: the 2 layers left dense hold 2.39 %",
    ):
        allocate(RESNET, Budget.weights(0.99), "erk", parse_pattern("gs:8,1"))


@every_rule
def test_macs_are_met_from_below_and_as_near_as_possible(how):
    granted = allocate(RESNET, Budget.macs(1e6), how, Unstructured())
    cost = sum(macs(RESNET[name], count) for name, count in granted.counts.items())
    assert 1e6 - 2 * 1024 < cost <= 1e6
    with pytest.raises(
        BudgetError, match=re.escape("expected a budget between 444 k MACs (889 k FLOPs) and ")
    ):
        allocate(RESNET, Budget.macs(1000), how, Unstructured())


def test_bytes_and_milliseconds():
    pattern = parse_pattern("block:4x1")
    granted = allocate(RESNET, Budget.bytes(20_000), "uniform", pattern)
    spent = sum(bytes_packed(RESNET[name], count, pattern) for name, count in granted.counts.items())
    assert 20_000 - 2 * 4 * 3 < spent <= 20_000
    with pytest.raises(BudgetError, match="need a table measured on the device"):
        allocate(RESNET, Budget.milliseconds(2), "uniform", pattern)


def test_costs_by_hand():
    layer = RESNET["b"]
    assert (parameters(layer, 100), macs(layer, 100), layer.matrix) == (100, 25600, (32, 144))
    assert bytes_packed(layer, layer.numel, Unstructured(), value_bytes=4) == 4 * layer.numel


def test_refusals():
    with pytest.raises(BudgetError, match="at least one linear or convolution layer, got none"):
        allocate({}, Budget.weights(0.5), "uniform", Unstructured())
    with pytest.raises(BudgetError, match="expected a budget for pattern unstructured"):
        allocate(RESNET, None, "uniform", Unstructured())
    with pytest.raises(
        BudgetError,
        match=re.escape("expected an allocation of uniform, erk or global_rank(scores), got 'best'"),
    ):
        allocate(RESNET, Budget.weights(0.5), "best", Unstructured())
    with pytest.raises(BudgetError, match=re.escape("expected global_rank(scores)")):
        allocate(RESNET, Budget.weights(0.5), "global_rank", Unstructured())
    for how in (None, "best"):
        with pytest.raises(BudgetError, match="expected an allocation of"):
            allocate(RESNET, Budget.weights(0.5), how, Unstructured())
    with pytest.raises(
        BudgetError, match=re.escape("expected a budget such as Budget.weights(0.9), got 0.9")
    ):
        allocate(RESNET, 0.9, "erk", Unstructured())
    with pytest.raises(PatternError, match=re.escape("write parse_pattern('2:4')")):
        allocate(RESNET, Budget.weights(0.5), "erk", "2:4")
    with pytest.raises(BudgetError, match="got none for a, b, c"):
        allocate(RESNET, Budget.weights(0.5), global_rank({}), Unstructured())


def test_printing():
    granted = allocate(RESNET, Budget.weights(0.9), "erk", Unstructured())
    assert (
        str(granted)
        == "requested sparsity 90 %, granted sparsity 90 % (4485 of 44848 weights kept, 2 of 5 layers dense)"
    )


@pytest.mark.parametrize(("scores", "words"), [
    (torch.full((8, 32), math.nan), "without NaN, got 256 NaN for a"),
    (torch.ones(8, 16), "expected floating-point scores [8, 32] of a, got torch.float32 [8, 16]"),
    (torch.ones(256), "got torch.float32 [256]"),
    (torch.ones(8, 32, dtype=torch.int64), "got torch.int64 [8, 32]"),
])  # fmt: skip
def test_scores_of_another_layer_are_not_ranked(scores: torch.Tensor, words: str):
    with pytest.raises(BudgetError, match=re.escape(words)):
        allocate(
            {"a": LayerShape(weight=(8, 32))}, Budget.weights(0.5), global_rank({"a": scores}), Unstructured()
        )


def one_by_one(ranges, wanted, num_kept):
    """The slow reference of `_round`: looks through all layers for each unit that is given or taken."""
    units = {name: min(max(int(wanted[name] // r.step), 1), len(r) - 1) for name, r in ranges.items()}

    def remainder(name):
        return wanted[name] / ranges[name].step - units[name]

    while True:
        gap = num_kept - sum(units[name] * r.step for name, r in ranges.items())
        if gap > 0:
            names = [name for name, r in ranges.items() if units[name] < len(r) - 1 and r.step < 2 * gap]
            best = max(names, key=remainder, default=None)
        else:
            names = [name for name, r in ranges.items() if units[name] > 1 and r.step < -2 * gap]
            best = min(names, key=remainder, default=None)
        if best is None:
            return {name: units[name] * r.step for name, r in ranges.items()}
        units[best] += 1 if gap > 0 else -1


def test_rounding_is_that_of_one_unit_after_the_other():
    """With equal and with mixed units, ties, full layers, and totals that no layer asked for."""
    draw = random.Random(0)
    for trial in range(2000):
        steps = draw.choices(
            [1, 2, 3, 8, 9, 12] if trial % 2 else [draw.choice([1, 4])], k=draw.randint(1, 7)
        )
        ranges = {str(i): range(0, step * draw.randint(1, 9) + 1, step) for i, step in enumerate(steps)}
        wanted = {
            name: draw.choice([draw.uniform(0, 1.2 * r[-1]), draw.randint(0, 2 * r[-1]) / 2])
            for name, r in ranges.items()
        }
        total = draw.choice(
            [sum(wanted.values()), draw.uniform(0, 1.3 * sum(r[-1] for r in ranges.values())), 7.5]
        )
        assert _round(ranges, wanted, total) == one_by_one(ranges, wanted, total), (ranges, wanted, total)


@every_rule
@pytest.mark.parametrize("text", ["block:4x1", "gs:8,1"])
def test_a_room_that_is_known_changes_nothing(how, text):
    pattern = parse_pattern(text)
    room = Room.of(RESNET, pattern)
    for sparsity in (0.3, 0.9):
        budget = Budget.weights(sparsity)
        assert allocate(RESNET, budget, how, pattern, room) == allocate(RESNET, budget, how, pattern)
