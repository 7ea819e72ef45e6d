"""Which weights are masked, and the reasons of the others."""

import pytest
import torch
from torch import nn

from gossamer.errors import EngineError
from gossamer.sparsity.patterns import parse_pattern
from gossamer.training.compact import compact_
from gossamer.training.layers import choose, find_weights
from gossamer.training.protection import Protection

NOTHING = Protection(first=False, last=False, depthwise=False)
UNSTRUCTURED = parse_pattern("unstructured")


def test_weights_that_count() -> None:
    model = nn.ModuleDict(
        {
            "conv": nn.Conv1d(2, 4, 3),
            "norm": nn.BatchNorm1d(4),
            "up": nn.ConvTranspose1d(4, 4, 2),
            "attention": nn.MultiheadAttention(8, 2),
            "lstm": nn.LSTM(4, 5),
            "cell": nn.GRUCell(4, 5),
            "table": nn.Embedding(10, 4),
            "fc": nn.Linear(4, 3),
        }
    )
    assert list(find_weights(model)) == [
        "conv.weight",
        "up.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "cell.weight_ih",
        "cell.weight_hh",
        "fc.weight",
    ]
    dense = choose(model, UNSTRUCTURED, Protection(), None).dense
    assert {name: reason for name, (_, reason) in dense.items()} == {
        "conv.weight": "protected: first layer",
        "up.weight": "transposed convolution: its weight lists inputs before outputs",
        "fc.weight": "protected: last layer",
    }


def test_depthwise_and_misfits_are_listed() -> None:
    model = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2), nn.Linear(10, 10), nn.Linear(8, 8)
    )
    dense = choose(model, parse_pattern("block:8x1"), Protection(first=False, last=False), None).dense
    assert {name: reason for name, (_, reason) in dense.items()} == {
        "0.weight": "protected: depthwise",
        "2.weight": "block:8x1 needs rows divisible by 8: expected a multiple of 8, got 10 rows (shape 10x10)",
    }


def test_names_narrow_the_choice_and_exact_names_win_over_defaults() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    chosen = choose(model, UNSTRUCTURED, Protection(), ["0", "1.weight"])
    assert list(chosen.masked) == ["0.weight", "1.weight"]
    assert chosen.dense["2.weight"][1] == "not named in layers"
    assert list(choose(model, UNSTRUCTURED, Protection(), ["*"]).masked) == ["1.weight", "2.weight"]
    chosen = choose(model, UNSTRUCTURED, Protection(first=False, names=("[13]",)), None)
    assert {name: reason for name, (_, reason) in chosen.dense.items()} == {
        "1.weight": "protected by name",
        "3.weight": "protected by name",
    }


def test_names_that_match_nothing_are_errors() -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(4, 4), "decoder": nn.Linear(4, 4)})
    with pytest.raises(EngineError, match=r"layers: 'encodr' names no .*nearest: 'encoder'"):
        choose(model, UNSTRUCTURED, NOTHING, ["encodr"])
    with pytest.raises(EngineError, match="Protection"):
        choose(model, UNSTRUCTURED, Protection(names=("head",)), None)
    with pytest.raises(EngineError, match="got the string 'encoder'"):
        choose(model, UNSTRUCTURED, NOTHING, "encoder")
    with pytest.raises(EngineError, match="got the string 'encoder'"):
        Protection(names="encoder")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="named both in layers and in"):
        choose(model, UNSTRUCTURED, Protection(names=("encoder",)), ["encoder"])


def test_nothing_to_mask_is_an_error_that_lists_why() -> None:
    with pytest.raises(
        EngineError, match=r"got none \(0.weight: protected: first layer; 1.weight: protected: last layer\)"
    ):
        choose(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), UNSTRUCTURED, Protection(), None)
    with pytest.raises(EngineError, match="the model has no such layer"):
        choose(nn.Sequential(nn.ReLU()), UNSTRUCTURED, Protection(), None)


def test_of_a_compact_model_all_compact_layers_are_edited() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4))
    compact_(model, 0.5, protect=Protection(first=False))
    chosen = choose(model, UNSTRUCTURED, Protection(), None)
    assert list(chosen.masked) == ["0.weight", "1.weight"]
    assert {name: reason for name, (_, reason) in chosen.dense.items()} == {
        "2.weight": "dense beside compact layers"
    }
    assert (
        choose(model, UNSTRUCTURED, Protection(names=("2.*",)), ["0.*", "1.weight"]).masked == chosen.masked
    )
    with pytest.raises(EngineError, match=r"'1.weight' is compact, and layers= leaves it out"):
        choose(model, UNSTRUCTURED, Protection(), ["0.weight"])
    with pytest.raises(EngineError, match=r"'0.weight' is compact, and Protection\(names=…\) names it"):
        choose(model, UNSTRUCTURED, Protection(names=("0",)), None)


def test_tied_weights_are_refused_or_left_dense() -> None:
    model = nn.ModuleDict(
        {"table": nn.Embedding(6, 4), "middle": nn.Linear(4, 4), "head": nn.Linear(4, 6, bias=False)}
    )
    model["head"].weight = model["table"].weight
    assert list(choose(model, UNSTRUCTURED, Protection(first=False), None).masked) == ["middle.weight"]
    with pytest.raises(
        EngineError, match=r"'head.weight' is tied: it is the same parameter as 'table.weight'"
    ):
        choose(model, UNSTRUCTURED, NOTHING, None)


def test_parametrized_and_lazy_weights() -> None:
    model = nn.Sequential(nn.Linear(4, 4), torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    assert "parametrization" in choose(model, UNSTRUCTURED, NOTHING, None).dense["1.weight"][1]
    with pytest.raises(EngineError, match="run one batch"):
        choose(nn.Sequential(nn.LazyLinear(4)), UNSTRUCTURED, NOTHING, None)
