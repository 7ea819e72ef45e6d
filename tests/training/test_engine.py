"""The order of events, and the traps around it."""

import collections
import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gossamer.errors import BudgetError, EngineError, MethodError, PatternError
from gossamer.training import Gradual, OneShot, Protection, RigL, Sparsifier, Static
from tests.training.helpers import (
    NOTHING,
    assert_dropped_is_zero,
    backward,
    batch,
    bottleneck,
    is_plus_zero,
    mlp,
)

MLP = (8, 6)

OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}),
    "sgd momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "sgd nesterov fused": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "fused": True}),
    "adam": (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.01}),
    "adam fused": (torch.optim.Adam, {"lr": 0.01, "fused": True}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01}),
    "adamw fused": (torch.optim.AdamW, {"lr": 0.01, "fused": True, "amsgrad": True}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01, "initial_accumulator_value": 0.1}),
    "adadelta": (torch.optim.Adadelta, {}),
}


def rigl(**settings: Any) -> RigL:
    return RigL(**{"sparsity": 0.6, "every": 2, "stop": 9, "drop_fraction": 0.5, **settings})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dropped_is_plus_zero_after_every_step(name: str) -> None:
    kind, settings = OPTIMIZERS[name]
    model = mlp()
    biases = [p for n, p in model.named_parameters() if n.endswith("bias")]
    weights = [p for n, p in model.named_parameters() if n.endswith("weight")]
    optimizer = kind([{"params": biases, "lr": 0.001}, {"params": weights}], **settings)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    for step in range(12):
        backward(model, step, shape=MLP)
        optimizer.step()
        assert_dropped_is_zero(sparsifier, model, optimizer)
        assert all(is_plus_zero(w.grad[~m]) for w, m in zip(weights, sparsifier.masks.values(), strict=True))
    assert [record.step for record in sparsifier.history] == [0, 2, 4, 6, 8]
    assert all(record.dropped == record.grown for record in sparsifier.history[1:])
    assert sparsifier.history[1].grown > 10


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


@pytest.mark.parametrize("name", ["sgd momentum", "sgd nesterov fused", "adam", "adam fused", "adamw fused"])
@pytest.mark.parametrize("unscale_first", [False, True])
def test_a_step_that_the_scaler_skipped_is_no_step(name: str, unscale_first: bool) -> None:
    """With a scaler and an overflow (in the very first step, and at an edit step) as without both; scores see unscaled gradients."""
    kind, settings = OPTIMIZERS[name]

    def train(*, scaled: bool) -> tuple[nn.Module, Sparsifier]:
        model = mlp(dtype=torch.float64)
        optimizer = kind(model.parameters(), **settings)
        method = rigl(criterion="magnitude_gradient")
        sparsifier = Sparsifier(model, method, optimizer, protect=NOTHING)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        for step, overflow in (
            (0, True),
            (0, False),
            (1, True),
            (1, False),
            (2, False),
            (3, True),
            (3, False),
            (4, False),
        ):
            if overflow and not scaled:
                continue
            x, y = batch(step, MLP)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x.double()), y)
            scaler.scale(loss).backward()
            if overflow:
                model[0].weight.grad[0, 0] = float("inf")
                model[2].weight.grad.fill_(float("nan"))
            if unscale_first:
                scaler.unscale_(optimizer)
                sparsifier.mask_gradients()
            scaler.step(optimizer)
            scaler.update(1024.0)
            if not overflow:
                assert_dropped_is_zero(sparsifier, model, optimizer)
        return model, sparsifier

    (plain, first), (scaled, second) = train(scaled=False), train(scaled=True)
    assert first.step == second.step == 5
    assert first.history == second.history
    for a, b in zip(plain.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("as_keyword", [False, True])
def test_a_closure_is_wrapped(as_keyword: bool) -> None:
    def train(*, closure: bool) -> tuple[nn.Module, Sparsifier]:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)
        for step in range(6):

            def evaluate(step: int = step) -> float:
                backward(model, step, shape=MLP)
                return 1.5

            if not closure:
                evaluate()
                optimizer.step()
            elif as_keyword:
                assert optimizer.step(closure=evaluate) == 1.5
            else:
                assert optimizer.step(evaluate) == 1.5
            assert_dropped_is_zero(sparsifier, model, optimizer)
        return model, sparsifier

    (plain, first), (wrapped, second) = train(closure=False), train(closure=True)
    assert first.history == second.history
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True))


def test_gradient_accumulation_counts_optimizer_steps() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    for micro in range(12):
        x, y = batch(micro, MLP)
        nn.functional.cross_entropy(model(x), y).backward()
        if micro % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
    assert sparsifier.step == 4
    assert [record.step for record in sparsifier.history] == [0, 2, 4]


def test_parameters_without_gradient_are_left_alone() -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    for step in range(9):
        backward(model, step, shape=MLP)
        model[2].weight.grad = None
        optimizer.step()
    assert_dropped_is_zero(sparsifier, model, None)
    assert sparsifier.step == 9


def test_averaged_copies_are_masked() -> None:
    model = bottleneck()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    twin = copy.deepcopy(model)
    loose = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sparsifier = Sparsifier(model, rigl(), optimizer, ema=(average, twin, loose))
    for step in range(9):
        backward(model, step)
        optimizer.step()
        average.update_parameters(model)
        copies = [dict(average.module.named_parameters()), dict(twin.named_parameters()), loose]
        assert_dropped_is_zero(
            sparsifier, model, optimizer, [{n: t.detach() for n, t in c.items()} for c in copies]
        )


def test_averages_may_make_new_tensors_and_move() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loose = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    module = copy.deepcopy(model)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING, ema=(loose, module))
    module.double()  # new storage
    for step in range(6):
        for name, tensor in model.state_dict().items():
            loose[name] = 0.9 * loose[name] + 0.1 * tensor  # new tensors
        backward(model, step, shape=MLP)
        optimizer.step()
        copies = {name: parameter.detach() for name, parameter in module.named_parameters()}
        assert_dropped_is_zero(sparsifier, model, optimizer, [loose, copies])


def test_a_copy_of_another_model_is_refused() -> None:
    with pytest.raises(
        EngineError, match=r"ema: expected a copy of '2.weight' of shape \(8, 8\), got nothing of this name"
    ):
        Sparsifier(mlp(), Static(sparsity=0.2), ema=bottleneck())


def test_deep_copies_and_pickles_do_not_drag_the_engine_along(tmp_path: Any) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    twin = copy.deepcopy(model)
    torch.save(model, tmp_path / "model.pt")
    twin.load_state_dict({name: torch.ones_like(tensor) for name, tensor in twin.state_dict().items()})
    assert bool((twin[0].weight == 1).all())
    other = Sparsifier(twin, Static(sparsity=0.5), protect=NOTHING)
    assert other.masks["0.weight"] is not sparsifier.masks["0.weight"]


def test_a_dense_checkpoint_loads_and_obeys_the_masks_at_once() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    backward(model, 0, shape=MLP)
    optimizer.step()
    model.load_state_dict(mlp(seed=9).state_dict())
    assert_dropped_is_zero(sparsifier, model, optimizer)


@pytest.mark.parametrize("whole", [True, False], ids=["model", "part"])
def test_compiled_models_keep_dense_names(whole: bool) -> None:
    model = mlp()
    if whole:
        compiled = torch.compile(model, backend="eager")
    else:
        model[0], compiled = torch.compile(model[0], backend="eager"), model
    optimizer = torch.optim.SGD(compiled.parameters(), lr=0.1)
    sparsifier = Sparsifier(compiled, rigl(), optimizer, protect=NOTHING)
    assert list(sparsifier.masks) == ["0.weight", "2.weight", "4.weight"]
    reference = mlp()
    other_optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
    other = Sparsifier(reference, rigl(), other_optimizer, protect=NOTHING)
    for step in range(5):
        for net, opt in ((compiled, optimizer), (reference, other_optimizer)):
            backward(net, step, shape=MLP)
            opt.step()
    assert sparsifier.history == other.history
    assert all(torch.equal(a, b) for a, b in zip(compiled.parameters(), reference.parameters(), strict=True))


def test_replaced_parameters_are_noticed() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    model.load_state_dict(mlp(seed=3).state_dict(), assign=True)
    backward(model, 0, shape=MLP)
    with pytest.raises(EngineError, match=r"the optimizer does not hold '0\.weight'"):
        optimizer.step()
    sparsifier.detach()
    second = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier.attach(second)
    second.step()
    assert_dropped_is_zero(sparsifier, model, second)


def test_a_sparsifier_is_neither_copied_nor_pickled() -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters())
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    with pytest.raises(EngineError, match=r"cannot be copied or pickled.*state_dict\(\)"):
        copy.deepcopy((model, optimizer, sparsifier))
    with pytest.raises(EngineError, match="cannot be copied or pickled"):
        pickle.dumps(sparsifier)
    twin = copy.deepcopy(optimizer)  # the optimizer alone may be copied, and does not drag hooks along
    assert not twin._optimizer_step_post_hooks


def test_frozen_weights_are_not_exchanged() -> None:
    model = mlp()
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with pytest.raises(EngineError, match=r"'0.weight' is frozen.*RigL would exchange"):
        Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    backward(model, 0, shape=MLP)
    optimizer.step()
    assert_dropped_is_zero(sparsifier, model, optimizer)


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


def test_attaching_twice_is_an_error() -> None:
    model = mlp()
    optimizer, second = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    with pytest.raises(EngineError, match="attached to an optimizer already"):
        sparsifier.attach(second)
    with pytest.raises(EngineError, match=r"'0.weight' belongs to another Sparsifier already.*finalize"):
        Sparsifier(model, Static(sparsity=0.5), second, protect=NOTHING)
    sparsifier.detach()
    with torch.no_grad():
        model[0].weight.fill_(1.0)  # detached, nobody masks
    sparsifier.attach(second)
    assert_dropped_is_zero(sparsifier, model)
    sparsifier.finalize()
    Sparsifier(model, Static(sparsity=0.5), second, protect=NOTHING).finalize()
    with pytest.raises(EngineError, match="finalized"):
        sparsifier.attach(optimizer)


def test_finalize_removes_every_hook_and_counts_stray_values() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, Static(sparsity=0.5), optimizer, protect=NOTHING)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    dropped = int((~sparsifier.masks["0.weight"]).sum())
    assert sparsifier.finalize().zeroed == dropped
    backward(model, 0, shape=MLP)
    optimizer.step()
    assert sparsifier.step == 0
    assert not optimizer._optimizer_step_pre_hooks
    assert not model[0]._load_state_dict_post_hooks


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (torch.optim.LBFGS, {}, "LBFGS cannot serve RigL.*inner iterations"),
        (torch.optim.Adafactor, {}, "Adafactor cannot serve RigL.*row and column sums"),
        (torch.optim.Rprop, {}, "Rprop cannot serve RigL"),
        (torch.optim.NAdam, {}, "NAdam corrects its bias with one step count a tensor.*adam_counts='shared'"),
    ],
)
def test_optimizers_that_cannot_serve_are_refused_by_name(
    kind: Any, settings: dict[str, Any], sentence: str
) -> None:
    model = mlp()
    with pytest.raises(EngineError, match=sentence):
        Sparsifier(model, rigl(), kind(model.parameters(), **settings), protect=NOTHING)
    assert not model[0]._load_state_dict_post_hooks
    assert bool(model[0].weight.all())


@pytest.mark.parametrize(
    "kind", [torch.optim.LBFGS, torch.optim.Adafactor, torch.optim.ASGD, torch.optim.Rprop]
)
def test_they_serve_a_fixed_mask(kind: Any) -> None:
    model = mlp()
    optimizer = kind(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, Static(sparsity=0.6), optimizer, protect=NOTHING)
    before = model[0].weight.detach().clone()
    for step in range(3):

        def closure(step: int = step) -> Tensor:
            backward(model, step, shape=MLP)
            x, y = batch(step, MLP)
            return nn.functional.cross_entropy(model(x), y)

        optimizer.step(closure)
        assert_dropped_is_zero(sparsifier, model, optimizer)
    assert not torch.equal(before, model[0].weight)


class OddState(torch.optim.SGD):
    """A user's optimizer that keeps a row sum."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["rows"] = torch.ones(p.shape[0])
        return super().step(closure)


def test_an_unknown_optimizer_is_looked_at_before_an_edit() -> None:
    model = mlp()
    optimizer = OddState(model.parameters(), lr=0.1)
    Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    backward(model, 0, shape=MLP)
    optimizer.step()
    backward(model, 1, shape=MLP)
    with pytest.raises(EngineError, match=r"OddState keeps state 'rows' of shape \(8,\)"):
        optimizer.step()


def test_wrong_use_is_answered_with_a_sentence() -> None:
    model = mlp()
    stranger = torch.optim.SGD(mlp().parameters(), lr=0.1)
    with pytest.raises(EngineError, match=r"the optimizer does not hold '0\.weight'"):
        Sparsifier(model, Static(sparsity=0.5), stranger, protect=NOTHING)
    with pytest.raises(EngineError, match=r"expected a torch.optim.Optimizer, got str"):
        Sparsifier(model, Static(sparsity=0.5), "sgd", protect=NOTHING)  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match=r"got 1.2"):
        Static(sparsity=1.2)
    with pytest.raises(BudgetError, match=r"left dense here: 0.weight \(protected: first layer\), 4.weight"):
        Sparsifier(model, Static(sparsity=0.9))
    with pytest.raises(
        PatternError, match=r"'2\.weight' is named in layers but cannot be masked with block:3x1"
    ):
        Sparsifier(model, Static(sparsity=0.3, pattern="block:3x1"), layers=["2"])
    with pytest.raises(MethodError, match="reads gradients, of which there are none at step 0"):
        OneShot(sparsity=0.5, criterion="taylor")
    with pytest.raises(EngineError, match="adam_counts"):
        Sparsifier(model, Static(sparsity=0.5), protect=NOTHING, adam_counts="mine")
    for wrong, sentence in (
        ({"seed": "1"}, "expected a whole number as seed, got '1'"),
        ({"protect": {"first": False}}, "expected protect=Protection"),
        ({"method": "rigl"}, "expected a method such as RigL.*got 'rigl'"),
        ({"method": RigL}, "expected a method such as RigL"),
        ({"model": "mlp"}, "expected a torch.nn.Module as model, got str"),
    ):
        with pytest.raises(EngineError, match=sentence):
            Sparsifier(**{"model": model, "method": Static(sparsity=0.2), **wrong})  # type: ignore[arg-type]
    for wrong_step in ({"every": 2.5}, {"every": True}, {"stop": float("inf")}):
        with pytest.raises(MethodError, match=r"RigL: expected (every|stop) to be a whole number"):
            rigl(**wrong_step)
    with pytest.raises(EngineError, match="expected masks= together with"):
        Sparsifier(model, Static(initial="given"), protect=NOTHING)


def test_a_diverged_run_says_so_at_the_edit() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Sparsifier(model, rigl(every=1), optimizer, protect=NOTHING)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    with pytest.raises(EngineError, match=r"'0\.weight': expected scores without NaN.*training has diverged"):
        optimizer.step()


def test_learning_rate_schedulers_do_not_count_twice() -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)
    for step in range(5):
        backward(model, step, shape=MLP)
        optimizer.step()
        scheduler.step()
    assert sparsifier.step == 5


class Wrapped(torch.optim.SGD):
    """A user's subclass: torch runs the hooks for its step and again for its parent's."""

    fails = False

    def step(self, closure: Any = None) -> Any:
        if self.fails:
            raise ValueError("a batch that cannot be read")
        return super().step(closure)


def test_a_step_that_calls_its_parents_step_is_one_step() -> None:
    model = mlp()
    optimizer = Wrapped(model.parameters(), lr=0.1, momentum=0.9)
    sparsifier = Sparsifier(model, rigl(), optimizer, protect=NOTHING)

    def broken() -> float:
        raise ValueError("a batch that cannot be read")

    for step in range(5):
        backward(model, step, shape=MLP)
        with pytest.raises(ValueError, match="cannot be read"):
            optimizer.step(broken)
        optimizer.fails = True
        with pytest.raises(ValueError, match="cannot be read"):
            optimizer.step()
        optimizer.fails = False
        optimizer.step()
        assert_dropped_is_zero(sparsifier, model, optimizer)
    assert sparsifier.step == 5


def test_given_masks() -> None:
    model = mlp()
    masks = {"2.weight": torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) > 0.5}
    sparsifier = Sparsifier(model, Static(initial="given"), masks=masks)
    assert torch.equal(sparsifier.masks["2.weight"], masks["2.weight"])
    assert is_plus_zero(model[2].weight[~masks["2.weight"]].detach())
    sparsifier.finalize()
    with pytest.raises(PatternError, match=r"masks: '2\.weight'"):
        Sparsifier(mlp(), Static(initial="given", pattern="2:4"), masks=masks)


def test_summary_lists_layers_left_dense_and_counts_them() -> None:
    sparsifier = Sparsifier(bottleneck(), Static(sparsity=0.75, pattern="block:16x2"))
    summary = sparsifier.summary()
    assert {row.name: row.reason for row in summary.left_dense} == {
        "stem.weight": "protected: first layer",
        "fc.weight": "protected: last layer",
    }
    assert summary.size == 72 + 1152 + 256 + 128 + 64
    assert summary.num_kept == 72 + 64 + sum(int(mask.sum()) for mask in sparsifier.masks.values())
    assert sparsifier.sparsity == pytest.approx(0.75, abs=16 / summary.size)
    assert "dense: protected: first layer" in str(summary)


def test_peak_is_what_was_kept_at_most() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(
        model, Gradual(sparsity=0.7, every=1, stop=3), optimizer, protect=Protection(first=False)
    )
    kept = []
    for step in range(4):
        backward(model, step, shape=MLP)
        optimizer.step()
        kept.append(sparsifier.summary().num_kept)
    assert kept == sorted(kept, reverse=True)
    assert sparsifier.summary().peak_kept == 6 * 8 + 8 * 8 + 8 * 4
