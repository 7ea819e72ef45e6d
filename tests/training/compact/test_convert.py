"""compact_, to_dense and dense_state_dict: the masks of the Sparsifier, what stays dense, and models without dense weights."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gossamer.errors import BudgetError, EngineError
from gossamer.training import SET, Gradual, Method, Protection, Sparsifier, Static
from gossamer.training.compact import SparseLinear, compact_, dense_state_dict, to_dense
from tests.training.helpers import NOTHING


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 24),
        nn.ReLU(),
        nn.Linear(24, 32),
        nn.ReLU(),
        nn.Linear(32, 24),
        nn.ReLU(),
        nn.Linear(24, 4),
    ).double()


METHODS: list[Callable[[], Method]] = [
    lambda: Static(sparsity=0.5),
    lambda: Static(sparsity=0.5, initial="magnitude"),
    lambda: Static(sparsity=0.5, initial="magnitude", allocation="global_rank"),
    lambda: Static(sparsity=0.5, allocation="uniform", pattern="block:4x1"),
    lambda: Static(pattern="2:4"),
    lambda: SET(sparsity=0.5, every=5, stop=50),
]


@pytest.mark.parametrize("make", METHODS)
def test_the_masks_are_those_of_the_sparsifier_with_the_same_seed(make: Callable[[], Method]) -> None:
    dense = mlp()
    model = copy.deepcopy(dense)
    report = compact_(model, make(), seed=7)
    sparsifier = Sparsifier(dense, make(), torch.optim.SGD(dense.parameters(), lr=0.1), seed=7)
    assert [row.name for row in report.compact] == list(sparsifier.masks) == ["2.weight", "4.weight"]
    for name, mask in sparsifier.masks.items():
        layer = model.get_submodule(name[:1])
        assert isinstance(layer, SparseLinear)
        assert torch.equal(layer.mask(), mask)
        assert torch.equal(layer.dense_weight(), dense.get_parameter(name))
    x = torch.randn(5, 16, dtype=torch.float64)
    torch.testing.assert_close(model(x), dense(x), rtol=1e-12, atol=1e-12)


def test_a_model_that_was_trained_masked_becomes_compact_with_its_masks() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = Gradual(sparsity=0.5, every=1, stop=2, allocation="global_rank")
    sparsifier = Sparsifier(model, method, optimizer, protect=Protection(first=False))
    x = torch.randn(20, 16, dtype=torch.float64)
    for _ in range(2):
        model(x).pow(2).sum().backward()
        optimizer.step()
    with pytest.raises(EngineError, match="expected a finalized one"):
        compact_(model, masks=sparsifier)
    sparsifier.finalize()
    expected = model(x)
    with pytest.warns(RuntimeWarning, match="make a new optimizer"):
        report = compact_(model, masks=sparsifier)
    assert {row.name: row.num_kept for row in report.compact} == {
        name: int(mask.sum()) for name, mask in sparsifier.masks.items()
    }
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    again = torch.optim.SGD(model.parameters(), lr=0.1)
    going_on = Sparsifier(model, SET(initial="given", every=1, stop=9), again)
    model(x).pow(2).sum().backward()
    again.step()
    assert going_on.history[-1].grown > 0
    with pytest.raises(EngineError, match="masks= alone"):
        compact_(mlp(), 0.5, masks=sparsifier)
    with pytest.raises(EngineError, match=r"bool mask of '2\.weight'"):
        compact_(mlp(), masks={"2.weight": torch.ones(3, 3)})


def test_layers_that_cannot_be_compact_stay_dense_and_say_why() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(8, 8)
            self.sequence = nn.Conv1d(8, 8, 3)
            self.attention = nn.MultiheadAttention(8, 2)
            self.middle = nn.Linear(8, 8)
            self.last = nn.Linear(8, 8)

    report = compact_(Net(), 0.05)
    reasons = {row.name: row.reason for row in report.left_dense}
    assert [row.name for row in report.compact] == ["middle.weight"]
    assert reasons["first.weight"] == "protected: first layer"
    assert "Conv1d has no compact form" in reasons["sequence.weight"]
    assert "MultiheadAttention has no compact form" in reasons["attention.in_proj_weight"]
    assert "has no compact form" in reasons["attention.out_proj.weight"]
    assert "dense: protected: last layer" in str(report)


def test_a_model_on_the_meta_device_never_has_dense_weights() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 1 << 17), nn.BatchNorm1d(1 << 17), nn.Linear(1 << 17, 1 << 17))
    everything = Protection(first=False, last=False)
    report = compact_(model, 0.9999, seed=1, protect=everything, allocation="uniform")  # dense: 64 GiB
    assert report.compact[1].num_kept == 1_717_987
    model.train()
    y = model(torch.randn(2, 8))
    y.sum().backward()
    assert y.shape == (2, 1 << 17)
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


def test_the_transformer_of_torch_runs_in_training_and_in_evaluation() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0)
    model = nn.TransformerEncoder(layer, 2)
    compact_(model, 0.3, protect=NOTHING)
    assert isinstance(model.layers[1].linear2, SparseLinear)
    x = torch.randn(2, 5, 16)
    expected = model.train()(x)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), expected)


def test_a_compiled_model_computes_the_same() -> None:
    model = mlp()
    compact_(model, 0.5)
    x = torch.randn(20, 16, dtype=torch.float64)
    compiled = torch.compile(model, backend="eager")
    y = compiled(x)
    y.sum().backward()
    torch.testing.assert_close(y, model(x))
    assert all(parameter.grad is not None for parameter in model.parameters())


class Straight(nn.Module):
    """Without a loop over its layers, which torch.compile would leave whole."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers[2](torch.relu(self.layers[0](x)) + 1)
        return self.layers[4](torch.relu(y) * 2)


def test_torch_compile_takes_what_lies_between_compact_layers_and_edits_change_nothing() -> None:
    model, graphs = Straight(), []
    method = SET(sparsity=0.5, every=1, stop=100)
    compact_(model, method, protect=NOTHING)

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        graphs.append([node.name for node in graph.graph.nodes if node.op.startswith("call_")])
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(compiled, method, optimizer)
    x = torch.randn(20, 16, dtype=torch.float64)
    for _ in range(12):
        optimizer.zero_grad()
        compiled(x).square().sum().backward()
        optimizer.step()
    assert len(sparsifier.history) == 13  # the start, and an edit a step
    assert graphs == [["relu", "add"], ["relu", "mul"]]


def test_the_way_back_and_dense_keys() -> None:
    dense = mlp()
    model = copy.deepcopy(dense)
    calls: list[int] = []
    model[2].register_forward_hook(lambda *_: calls.append(1))
    model[2].weight.requires_grad_(False)
    compact_(model, 0.5)
    state, x = dense_state_dict(model), torch.randn(5, 16, dtype=torch.float64)
    assert list(state) == list(dense.state_dict())
    expected = model(x)
    assert not any(isinstance(layer, SparseLinear) for layer in to_dense(model))
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert calls == [1, 1]
    assert not model[2].weight.requires_grad
    dense.load_state_dict(state)
    torch.testing.assert_close(dense(x), expected, rtol=1e-12, atol=1e-12)


def test_a_layer_larger_than_dense_is_named_with_its_break_even() -> None:
    with pytest.warns(RuntimeWarning, match=r"larger than dense: 2\.weight .*break-even at 80%"):
        report = compact_(mlp(), Static(sparsity=0.15, allocation="uniform"))
    assert "larger than dense" in str(report)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Gradual(sparsity=0.5, every=5, stop=50), "begins with dense weights"),
        (Static(initial="given"), "initial='random'"),
        ("unstructured", "expected a sparsity"),
    ],
)
def test_methods_that_would_save_nothing_are_refused(method: object, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        compact_(mlp(), method)  # type: ignore[arg-type]


def test_a_sparsity_out_of_reach_names_the_layers_left_dense() -> None:
    with pytest.raises(
        BudgetError, match=r"expected a sparsity between .* left dense here: 0\.weight \(.*first layer"
    ):
        compact_(mlp(), 0.99)


def test_conversions_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(EngineError, match="write them there"):
        compact_(mlp(), SET(sparsity=0.5, every=5, stop=50), pattern="2:4")
    with pytest.raises(EngineError, match="around it"):
        compact_(nn.DataParallel(mlp()), 0.5)
    with pytest.raises(EngineError, match="the model itself"):
        compact_(nn.Linear(8, 8), 0.5, protect=Protection(first=False, last=False))
    with pytest.raises(EngineError, match=r"expected a torch\.nn\.Module, got int"):
        compact_(3, 0.5)  # type: ignore[arg-type]
    model = mlp()
    compact_(model, 0.5)
    with pytest.raises(EngineError, match="got one with compact layers"):
        compact_(model, 0.5)
    with torch.device("meta"):
        model = mlp()
    with pytest.raises(EngineError, match="initial='random'"):
        compact_(model, 0.5, initial="magnitude")


def test_an_optimizer_from_before_is_told() -> None:
    """Its steps would leave the compact layers as they are, in silence."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    others = torch.optim.SGD(mlp().parameters(), lr=0.1)
    method = SET(sparsity=0.5, every=5, stop=50)
    with pytest.warns(
        RuntimeWarning, match=r"SGD holds '2\.weight' .*make a new optimizer after compact_"
    ) as told:
        compact_(model, method)
    assert len(told) == 1
    assert others.param_groups
    with pytest.raises(EngineError, match=r"does not hold .*after compact_"):
        Sparsifier(model, method, optimizer)


def test_an_optimizer_made_afterwards_is_fine(recwarn: pytest.WarningsRecorder) -> None:
    model = mlp()
    compact_(model, 0.5)
    assert torch.optim.SGD(model.parameters(), lr=0.1).param_groups
    assert not list(recwarn)
