"""The order of events, and the traps around it."""

import copy
import pickle

import pytest
import torch

from gossamer.errors import EngineError
from gossamer.training import Sparsifier, Static
from tests.training.helpers import (
    MLP,
    NOTHING,
    OPTIMIZERS,
    assert_dropped_is_zero,
    backward,
    is_plus_zero,
    mlp,
    rigl,
)


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


def test_a_diverged_run_says_so_at_the_edit() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Sparsifier(model, rigl(every=1), optimizer, protect=NOTHING)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    with pytest.raises(EngineError, match=r"'0\.weight': expected scores without NaN.*training has diverged"):
        optimizer.step()
