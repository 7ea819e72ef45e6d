"""The Sparsifier on compact layers: the masked engine, step by step, in the memory of the kept values."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gossamer.errors import EngineError
from gossamer.training import MEST, SET, Gradual, Method, Protection, RigL, Sparsifier, Static
from gossamer.training.compact import CompactLayer, SparseLinear, compact_, dense_state_dict
from gossamer.training.foresight import peak_counts
from tests.training.compact.helpers import loss_of, net
from tests.training.helpers import NOTHING

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.003),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.003, amsgrad=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01, initial_accumulator_value=0.1),
}


def exchange(pattern: str = "unstructured", **settings: Any) -> Method:
    return SET(**{"sparsity": 0.6, "every": 7, "stop": 190, "pattern": pattern, **settings})


class Pair:
    """The same run twice: masked and compact."""

    def __init__(
        self, method: Method, optimizer: str, *, dtype: torch.dtype = torch.float64, kind: str = "mlp"
    ) -> None:
        self.dense = net(kind).to(dtype)
        self.model = copy.deepcopy(self.dense)
        self.report = compact_(self.model, method, seed=5, protect=NOTHING)
        self.optimizers = [OPTIMIZERS[optimizer](m.parameters()) for m in (self.dense, self.model)]
        self.masked = Sparsifier(self.dense, method, self.optimizers[0], seed=5, protect=NOTHING)
        self.compact = Sparsifier(self.model, method, self.optimizers[1], seed=5, dense_gradients="blockwise")
        self.step = 0

    def train(self, steps: int = 1) -> tuple[float, float]:
        losses = (0.0, 0.0)
        for _ in range(steps):
            found = []
            for model, optimizer in zip((self.dense, self.model), self.optimizers, strict=True):
                loss = loss_of(model, self.step)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                found.append(loss.item())
            self.step += 1
            losses = found[0], found[1]
        return losses


CASES = [
    *((exchange(), optimizer) for optimizer in OPTIMIZERS),
    (exchange("block:2x2", exclude_dropped=True), "adam"),
    (exchange("2:4", sparsity=None, drop_fraction=0.5), "adamw"),
    (exchange("gs:4,1"), "momentum"),
    (MEST(sparsity=0.7, every=7, stop=190, gradient_weight=2.0, mutation=0.1), "adamw"),
    (MEST(sparsity=0.7, kind="em&s", every=7, stop=190, mutation=0.1), "adam"),
    (MEST(sparsity=0.7, kind="em&s", every=7, stop=190, mutation=0.1, pattern="block:2x1"), "momentum"),
]


@pytest.mark.parametrize(
    ("pattern", "optimizer"), [("unstructured", "momentum"), ("block:4x1", "adam"), ("taps:4", "adam")]
)
def test_convolutions_equal_masked_ones(pattern: str, optimizer: str) -> None:
    pair = Pair(exchange(pattern, sparsity=0.7 if pattern == "taps:4" else 0.6), optimizer, kind="conv")
    for _ in range(60):
        masked, compact = pair.train()
        assert abs(masked - compact) <= 1e-10
        assert pair.masked.history[-1] == pair.compact.history[-1]


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_compact_equals_masked_over_200_steps_with_mutations(method: Method, optimizer: str) -> None:
    pair = Pair(method, optimizer)
    for step in range(200):
        masked, compact = pair.train()
        assert abs(masked - compact) <= 1e-10, step
        assert pair.masked.history[-1] == pair.compact.history[-1]
    assert len(pair.masked.history) in (28, 29)
    assert sum(record.grown for record in pair.compact.history) > 100
    for name, mask in pair.masked.masks.items():
        assert torch.equal(mask, pair.compact.masks[name])
    state = dense_state_dict(pair.model)
    for name, tensor in pair.dense.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("pattern", ["unstructured", "block:2x2", "gs:4,1"])
def test_edits_in_many_pieces_equal_those_in_one(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossamer.training.compact.storage.PIECE", 40)
    monkeypatch.setattr("gossamer.training.compact.moves.PIECE", 7)
    pair = Pair(exchange(pattern, every=2, stop=20), "adam")
    layer = pair.model[2]
    assert isinstance(layer, SparseLinear)
    assert len(list(layer.where.ranges(layer.places))) > 5
    for _ in range(20):
        masked, compact = pair.train()
        assert abs(masked - compact) <= 1e-10
        assert pair.masked.history[-1] == pair.compact.history[-1]


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize(
    ("pattern", "exclude_dropped"), [("unstructured", False), ("unstructured", True), ("block:2x1", False)]
)
def test_rigl_blockwise_chooses_what_the_masked_engine_does(
    kind: str, pattern: str, exclude_dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossamer.training.compact.blockwise.BLOCK_ENTRIES", 150)  # many blocks of few rows
    method = RigL(sparsity=0.6, every=5, stop=50, pattern=pattern, exclude_dropped=exclude_dropped)
    pair = Pair(method, "momentum", kind=kind)
    for _ in range(50):
        masked, compact = pair.train()
        assert abs(masked - compact) <= 1e-10
        assert pair.masked.history[-1] == pair.compact.history[-1]
    assert sum(record.grown for record in pair.compact.history) > 50
    assert all(module.recorded is None for module in pair.model.modules() if isinstance(module, CompactLayer))


def test_rigl_blockwise_is_refused_where_parts_do_not_add_up() -> None:
    method = RigL(sparsity=0.6, every=5, stop=50, pattern="gs:4,1")
    with pytest.raises(EngineError, match="expected the pattern unstructured or block"):
        Sparsifier(layers(method), method, dense_gradients="blockwise")
    with pytest.raises(EngineError, match="dense_gradients to be refused or blockwise, got 'all'"):
        Sparsifier(layers(method), method, dense_gradients="all")


def test_compact_equals_masked_in_float32_until_the_first_edit() -> None:
    pair = Pair(exchange(every=20), "adam", dtype=torch.float32)
    for _ in range(20):
        masked, compact = pair.train()
        assert abs(masked - compact) <= 1e-5


@pytest.mark.parametrize("fused", [False, True])
def test_an_edit_step_that_the_scaler_skips_is_no_step(fused: bool) -> None:
    """The handles are given back before the edit, and the step is skipped afterwards: the run goes on as if it had not begun."""

    def train(*, overflows: bool) -> tuple[nn.Module, Sparsifier]:
        method = MEST(sparsity=0.6, every=2, stop=9, mutation=0.1, gradient_weight=2.0)
        model = net("mlp")
        compact_(model, method, protect=NOTHING)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=fused)
        sparsifier = Sparsifier(model, method, optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for step in range(6):
            for overflow in (True, False) if overflows else (False,):
                optimizer.zero_grad()
                scaler.scale(loss_of(model, step)).backward()
                if overflow:
                    model[2].values.grad[0] = float("inf")
                scaler.unscale_(optimizer)
                sparsifier.mask_gradients()
                scaler.step(optimizer)
                scaler.update(1024.0)
        return model, sparsifier

    (model, sparsifier), (expected, never) = train(overflows=True), train(overflows=False)
    assert sparsifier.step == never.step == 6
    assert sparsifier.history == never.history
    assert sum(record.grown for record in sparsifier.history[1:]) > 0
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_parameter_shape_and_storage_stay_through_edits_and_the_room_is_zero() -> None:
    pair = Pair(exchange(every=1), "adam")
    parameters = dict(pair.model.named_parameters())
    pointers = {name: p.data_ptr() for name, p in parameters.items()}
    pair.train(5)
    for name, parameter in pair.model.named_parameters():
        assert parameter is parameters[name]
        assert parameter.data_ptr() == pointers[name]
    assert pair.compact.finalize().zeroed == 0


def test_soft_bound_peak_is_the_capacity_at_every_step() -> None:
    method = MEST(sparsity=0.7, kind="em&s", every=4, stop=24, mutation=0.1, decay="linear")
    pair = Pair(method, "adam")
    peak = {row.name: row.capacity for row in pair.report.compact}
    trace = []
    for _ in range(30):
        pair.train()
        rows = pair.compact.summary().masked
        assert all(row.num_kept <= peak[row.name] for row in rows)
        assert rows == pair.masked.summary().masked
        trace.append(pair.compact.summary().num_kept)
    assert trace[0] == sum(peak.values()) == pair.compact.summary().peak_kept
    size = pair.compact.summary().size
    assert trace[-1] == round(0.3 * size)
    assert trace[0] == round(0.4 * size)


def test_a_grown_entry_starts_at_zero_with_empty_state() -> None:
    pair = Pair(exchange(every=3), "adam")
    layer = pair.model[2]
    assert isinstance(layer, SparseLinear)
    pair.train(2)
    before, old = layer.positions(), dict(zip(layer.positions().tolist(), layer.values.tolist(), strict=True))
    pair.train(1)
    after, state = layer.positions(), pair.optimizers[1].state[layer.values]
    fresh = ~torch.isin(after, before)
    assert fresh.sum() > 0
    for tensor in (layer.values, state["exp_avg"], state["exp_avg_sq"]):
        assert tensor[fresh].tolist() == [0.0] * int(fresh.sum())
    survivor = int((~fresh).nonzero()[0])
    assert int(after[survivor]) in old
    assert state["exp_avg"][survivor] != 0


def test_averaged_copies_move_with_the_weights() -> None:
    method = exchange(every=2)
    model = net("mlp").double()
    compact_(model, method, protect=NOTHING)
    average = copy.deepcopy(model)
    by_name = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Sparsifier(model, method, optimizer, ema=[average, by_name])
    dense = {
        name: layer.dense_weight()
        for name, layer in average.named_modules()
        if isinstance(layer, SparseLinear)
    }
    for step in range(2):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
    for name, weight in dense.items():
        ours, averaged = model.get_submodule(name), average.get_submodule(name)
        assert isinstance(ours, SparseLinear)
        assert isinstance(averaged, SparseLinear)
        assert torch.equal(ours.places, averaged.places)
        expected = weight * ours.mask()
        expected[ours.mask() & (ours.dense_weight() == 0)] = 0  # grown now, perhaps where it was dropped
        assert torch.equal(averaged.dense_weight(), expected)
        assert torch.equal(by_name[f"{name}.values"], averaged.values)


@pytest.mark.parametrize("every", [2, 3], ids=["at an edit", "between edits"])
@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_averages_of_the_places_are_refused(decay: float, every: int) -> None:
    """torch averages bytes too if it is asked to: 0.9 p + 0.1 p rounds some of them down, 0.99 p + 0.01 p none."""
    model = net("mlp")
    compact_(model, exchange(every=every), protect=NOTHING)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Sparsifier(model, exchange(every=every), optimizer, ema=average)
    loss_of(model, 0).backward()
    optimizer.step()
    for _ in range(2):  # the first one is a copy
        average.update_parameters(model)
    if decay == 0.99:
        optimizer.step()
        return
    with pytest.raises(
        EngineError, match=r"places of '0.weight' as the model has them, got others.*use_buffers=False"
    ):
        optimizer.step()


def test_resume_is_bit_equal_in_any_order_of_loading() -> None:
    def run(model: nn.Module, optimizer: Optimizer, begin: int, end: int) -> None:
        for step in range(begin, end):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()

    def start(seed: int) -> tuple[nn.Module, Optimizer, Sparsifier]:
        model = net("mlp")
        compact_(model, exchange(every=3), seed=seed, protect=NOTHING)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        return model, optimizer, Sparsifier(model, exchange(every=3), optimizer, seed=seed)

    model, optimizer, sparsifier = start(1)
    run(model, optimizer, 0, 10)
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), sparsifier.state_dict()], file)
    run(model, optimizer, 10, 20)
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)):
        again, parts = start(2), []
        file.seek(0)
        parts = torch.load(file, weights_only=True)
        for which in order:
            again[which].load_state_dict(parts[which])
        run(again[0], again[1], 10, 20)
        assert again[2].history == sparsifier.history
        for name, tensor in model.state_dict().items():
            assert torch.equal(again[0].state_dict()[name], tensor), name
        assert again[2].state_dict()["mask_hash"] == sparsifier.state_dict()["mask_hash"]


def test_edits_never_make_a_tensor_of_the_size_of_the_weight() -> None:
    """2^17 x 2^17: a dense bool mask alone would be 16 GiB."""
    method = SET(sparsity=1 - 2e5 / 2**34, every=1, stop=9, allocation="uniform")
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(1 << 17, 1 << 17, bias=False))
    compact_(model, method, protect=NOTHING)
    optimizer = torch.optim.Adam(model.parameters())
    sparsifier = Sparsifier(model, method, optimizer)
    before = sparsifier.state_dict()["mask_hash"]
    x = torch.ones(1, 1 << 17)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).pow(2).sum().backward()
        optimizer.step()
    assert sparsifier.history[-1].grown == 60_000
    assert sparsifier.state_dict()["mask_hash"] != before
    assert sparsifier.summary().num_kept == 200_000


def test_the_peak_is_reserved_once() -> None:
    from gossamer.sparsity.costs import LayerShape

    shapes = {"a": LayerShape(weight=(10, 10)), "b": LayerShape(weight=(10, 10), dense="protected")}
    assert peak_counts(SET(sparsity=0.3, every=2, stop=9), shapes, exact=True) == {"a": 40}
    assert peak_counts(Gradual(sparsity=0.3, every=2, stop=9), shapes, exact=True) == {"a": 100}


def test_a_ranking_is_foreseen_as_uniform_where_no_memory_depends_on_it() -> None:
    from gossamer.sparsity.costs import LayerShape

    shapes = {"a": LayerShape(weight=(10, 10)), "b": LayerShape(weight=(20, 10))}
    method = Gradual(sparsity=0.5, allocation="global_rank", every=2, stop=4)
    assert peak_counts(method, shapes, {"a": 60, "b": 120}) == {"a": 60, "b": 120}
    with pytest.raises(EngineError, match="a global ranking compares"):
        peak_counts(method, shapes, {"a": 60, "b": 120}, exact=True)


def layers(method: Method, **settings: Any) -> nn.Sequential:
    model = net("mlp")
    compact_(model, method, protect=NOTHING, **settings)
    return model


def test_methods_that_need_dense_tensors_are_refused_with_what_to_do() -> None:
    model = layers(RigL(sparsity=0.6, every=7, stop=90))
    with pytest.raises(EngineError, match="gradient of absent weights"):
        Sparsifier(model, RigL(sparsity=0.6, every=7, stop=90))
    Sparsifier(model, RigL(sparsity=0.6, every=7, stop=90, grow="random"))


def test_layers_that_do_not_fit_the_method_are_refused() -> None:
    model = layers(Static(sparsity=0.6))
    with pytest.raises(EngineError, match="expected equal numbers"):
        Sparsifier(model, exchange(sparsity=0.5))
    with pytest.raises(EngineError, match="compact with the pattern unstructured"):
        Sparsifier(model, exchange("block:2x2"))
    with pytest.raises(EngineError, match="expected a list of names, got the string"):
        Sparsifier(model, exchange(), layers="2.weight")
    with pytest.raises(EngineError, match=r"3\.wieght"):
        Sparsifier(model, exchange(), protect=Protection(names=["3.wieght"]))
    with pytest.raises(EngineError, match="another Sparsifier"):
        (Sparsifier(model, exchange()), Sparsifier(model, exchange()))
    mask = torch.ones(8, 6, dtype=torch.bool)
    with pytest.raises(EngineError, match="whose places are the masks"):
        Sparsifier(layers(Static(sparsity=0.6)), Static(initial="given"), masks={"0.weight": mask})
