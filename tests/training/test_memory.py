"""Predicted bytes equal those of actual tensors, worked by hand where the sum is short."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from gossamer.errors import EngineError
from gossamer.sparsity.costs import LayerShape
from gossamer.training import MEST, SET, Method, Sparsifier, Static
from gossamer.training.activations import activation_bytes
from gossamer.training.compact import SparseLinear, compact_
from gossamer.training.foresight import peak_counts
from gossamer.training.memory import measured_memory, predicted_memory
from gossamer.training.optimizer_state import STATE, rule_of
from gossamer.training.weight_bytes import (
    Memory,
    Storage,
    block_of,
    layer_memory,
    network_memory,
    places_bytes,
)
from tests.training.helpers import MLP, NOTHING, OPTIMIZERS, backward, bottleneck, mlp

MORE_OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    **OPTIMIZERS,
    "adam amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "rmsprop plain": (torch.optim.RMSprop, {}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    "adamax": (torch.optim.Adamax, {}),
    "rprop": (torch.optim.Rprop, {}),
    "asgd": (torch.optim.ASGD, {}),
}


def test_layer_by_hand() -> None:
    # 10 x 6, 12 kept, momentum: 60 entries of 4 bytes thrice; two bool masks
    assert layer_memory((10, 6), 12, storage="dense", states=1) == Memory(
        weights=240, gradients=240, optimizer=240
    )
    assert layer_memory((10, 6), 12, storage="masked", states=1).indices == 120
    assert layer_memory((10, 6), 60, storage="masked", states=1).indices == 60  # nothing dropped: one mask
    # twice 11 row starts, 12 16-bit columns; one part of columns: 2 cuts of 10 rows; one band: 2 + 7 starts, and 12 places
    assert layer_memory((10, 6), 12, storage="compact", states=1) == Memory(
        weights=48, gradients=48, optimizer=48, indices=2 * 44 + 24 + 80 + 8 + 28 + 48
    )


def test_places_of_blocks_and_of_wide_matrices_by_hand() -> None:
    assert places_bytes((8, 6), 12, (4, 1)) == 2 * 4 * 3 + 2 * 3 + 4 * 2 * 2 + 4 * 2 + 4 * 7 + 4 * 3
    assert places_bytes((8, 65536), 5, linear=False) == 2 * 4 * 9 + 5 * 2
    assert places_bytes((8, 65537), 5, linear=False) == 2 * 4 * 9 + 5 * 4  # columns need four bytes


@pytest.mark.native
@pytest.mark.parametrize("pattern", ["unstructured", "block:4x1"])
@pytest.mark.parametrize("shape", [(64, 96), (1200, 2100), (2056, 40)])
@pytest.mark.parametrize("density", [0.02, 0.3])
def test_places_are_those_of_the_structure(pattern: str, shape: tuple[int, int], density: float) -> None:
    kept = round(density * shape[0] * shape[1] / 4) * 4
    layer = SparseLinear(shape[1], shape[0], num_kept=kept, pattern=pattern, seed=0)
    layer(torch.ones(3, shape[1], requires_grad=True)).sum().backward()
    assert layer.index_bytes == places_bytes(shape, kept, block_of(pattern))


@pytest.mark.native
@pytest.mark.parametrize("method", [Static(sparsity=0.6), MEST(sparsity=0.6, kind="em&s", every=2, stop=9)])
def test_compact_prediction_equals_the_tensors(method: Method) -> None:
    """Of a model that is compact, and of the dense one that it was made from."""
    dense = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.Conv2d(8, 16, 3),
        nn.BatchNorm2d(16),
        nn.Flatten(),
        nn.Linear(256, 64),
        nn.Linear(64, 4),
    )
    model = deepcopy(dense)
    compact_(model, method)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparsifier = Sparsifier(model, method, optimizer)
    peak = peak_counts(method, sparsifier.shapes)
    predicted = predicted_memory(model, optimizer, peak, storage="compact")
    ahead = torch.optim.SGD(dense.parameters(), lr=0.1, momentum=0.9)
    assert predicted_memory(dense, ahead, peak, storage="compact") == predicted
    for _ in range(2):
        model(torch.ones(3, 1, 6, 6)).sum().backward()
        optimizer.step()
    for module in model.modules():  # the step after the edit has prepared nothing yet
        assert not isinstance(module, SparseLinear) or module.matrix() is not None
    model(torch.ones(3, 1, 6, 6)).sum().backward()
    measured = measured_memory(model, optimizer, sparsifier)
    assert (measured.weights, measured.gradients, measured.optimizer) == (
        predicted.weights,
        predicted.gradients,
        predicted.optimizer,
    )
    now = {row.name: row.num_kept for row in sparsifier.summary().masked}
    if now == peak:
        assert measured == predicted
    else:
        assert measured.indices < predicted.indices  # the kernels' structure is that of the entries of now


def test_network_sums_layers_and_rises_with_counts() -> None:
    shapes = {"a": LayerShape(weight=(10, 6)), "b": LayerShape(weight=(4, 2, 3, 3), dense="last layer")}
    low, high = (network_memory(shapes, {"a": kept}, states=2) for kept in (12, 13))
    assert low == layer_memory((10, 6), 12, storage="compact", states=2) + layer_memory(
        (4, 18), 72, storage="dense", states=2
    )
    assert high.total - low.total == 4 * 4 + 2 + 4


@pytest.mark.parametrize("name", MORE_OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_prediction_equals_the_tensors(name: str, dtype: torch.dtype) -> None:
    kind, settings = MORE_OPTIMIZERS[name]
    model = bottleneck().to(dtype)
    model.fc.bias.requires_grad_(False)
    optimizer = kind([p for p in model.parameters() if p.requires_grad], **settings)
    predicted = predicted_memory(model, optimizer, {}, storage="dense")
    model(torch.ones(4, 1, 6, 6, dtype=dtype)).sum().backward()
    optimizer.step()
    assert measured_memory(model, optimizer) == predicted


def test_every_optimizer_of_the_table_is_tested() -> None:
    tested = {kind for kind, _ in MORE_OPTIMIZERS.values()}
    assert set(STATE) - tested == {torch.optim.Muon}  # takes matrices only


def test_muon() -> None:
    weight = nn.Linear(6, 8, bias=False)
    optimizer = torch.optim.Muon(weight.parameters())
    predicted = predicted_memory(weight, optimizer, {}, storage="dense")
    weight(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    assert measured_memory(weight, optimizer) == predicted


def test_unknown_optimizer_is_refused_with_a_way_out() -> None:
    with pytest.raises(EngineError, match=r"LBFGS.*measured_memory"):
        rule_of(torch.optim.LBFGS(mlp().parameters()))


def test_subclass_has_the_rule_of_its_base() -> None:
    class Mine(torch.optim.AdamW):
        pass

    assert rule_of(Mine(mlp().parameters())) is STATE[torch.optim.AdamW]


def test_masked_prediction_equals_the_tensors() -> None:
    model = bottleneck()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer)
    counts = {row.name: row.num_kept for row in sparsifier.summary().masked}
    predicted = predicted_memory(model, optimizer, counts, storage="masked")
    backward(model, 0)
    optimizer.step()
    assert measured_memory(model, optimizer, sparsifier) == predicted
    rows = sparsifier.summary().masked
    assert predicted.indices == sum(row.size * (2 if row.num_kept < row.size else 1) for row in rows)


@pytest.mark.native
@pytest.mark.parametrize(("storage", "bytes_listed"), [("masked", 10), ("compact", 6)])
def test_births_of_grown_weights_are_optimizer_state(storage: Storage, bytes_listed: int) -> None:
    """After an edit that exchanges every weight the list is as long as it gets."""
    model, method = mlp(), SET(sparsity=0.75, drop_fraction=0.999, every=1, stop=2, allocation="uniform")
    if storage == "compact":
        compact_(model, method, protect=NOTHING)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, method, optimizer, protect=NOTHING)
    counts = {row.name: row.num_kept for row in sparsifier.summary().masked}
    for step in range(2):  # the edit is after the first step; its entries are listed at the second
        backward(model, step, shape=MLP)
        optimizer.step()
    kept = sum(counts.values())
    assert sparsifier.history[1].grown == kept == 36
    plain, predicted = (
        predicted_memory(model, optimizer, counts, storage=storage, counts_births=births)
        for births in (False, True)
    )
    held = kept if storage == "compact" else 144
    assert predicted.optimizer == plain.optimizer + 4 * held + bytes_listed * kept
    steps_with_growth = 4 * len(counts)
    assert measured_memory(model, optimizer, sparsifier).optimizer == predicted.optimizer + steps_with_growth


def test_births_of_a_convolution_are_listed_by_four_indices() -> None:
    model, method = (
        bottleneck(),
        SET(sparsity=0.75, drop_fraction=0.999, every=1, stop=2, allocation="uniform"),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, method, optimizer)
    counts = {row.name: row.num_kept for row in sparsifier.summary().masked}
    for step in range(2):
        backward(model, step)
        optimizer.step()
    predicted = predicted_memory(model, optimizer, counts, storage="masked", counts_births=True)
    assert sparsifier.history[1].grown == sum(counts.values())
    assert measured_memory(model, optimizer, sparsifier).optimizer == predicted.optimizer + 4 * len(counts)


def test_tied_tensors_and_buffers_count_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4))
    model[1].weight = model[0].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # one matrix, the norm's weight and bias; buffers: mean, variance, and one int64
    assert measured_memory(model, optimizer).weights == 64 + 16 + 16 + 16 + 16 + 8
    assert predicted_memory(model, optimizer, {}, storage="dense").weights == 136


def test_prediction_needs_no_values() -> None:
    with torch.device("meta"):
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters())
    here = mlp()
    assert predicted_memory(model, optimizer, {"0.weight": 5}, storage="compact") == predicted_memory(
        here, torch.optim.Adam(here.parameters()), {"0.weight": 5}, storage="compact"
    )


def test_wrong_name_is_refused() -> None:
    model = mlp()
    with pytest.raises(EngineError, match=r"'1\.weight'"):
        predicted_memory(model, torch.optim.SGD(model.parameters()), {"1.weight": 5}, storage="compact")


def test_activations_by_hand_and_no_trace() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Tanh())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x, state = torch.randn(3, 1, 5, 5), torch.get_rng_state()
    # input 3x1x5x5, convolution 3x2x3x3, batch mean and 1/std 2 each, dropout's mask (bool or float) and tanh's result 3x2x3x3
    floats = 75 + 54 + 2 + 2 + 54
    counted = activation_bytes(model, lambda: model(x).sum())
    assert counted - 4 * floats in (54, 4 * 54)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_forward_pass_that_fails_leaves_no_trace_either() -> None:
    model = nn.BatchNorm1d(6)

    def fails() -> torch.Tensor:
        model(torch.ones(3, 6))
        raise RuntimeError("out of images")

    with pytest.raises(RuntimeError, match="out of images"):
        activation_bytes(model, fails)
    assert int(model.num_batches_tracked) == 0
    assert bool((model.running_mean == 0).all())


def test_activations_grow_with_the_batch() -> None:
    model = mlp()
    one, two = (activation_bytes(model, lambda n=n: model(torch.ones(n, 6)).sum()) for n in (1, 2))
    assert two == 2 * one == 2 * 4 * (6 + 8 + 8)
