"""Saving and resuming: weights-only files, any order of loading, checkpoints of other runs."""

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gossamer.errors import CheckpointError
from gossamer.training import RigL, Sparsifier, Static
from tests.training.helpers import NOTHING, assert_dropped_is_zero, backward, bottleneck, mlp

MLP = (8, 6)
METHOD = RigL(sparsity=0.6, every=2, stop=9, drop_fraction=0.5)


def start(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer, Sparsifier]:
    model = mlp(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.01)
    return model, optimizer, Sparsifier(model, METHOD, optimizer, protect=NOTHING, seed=seed)


def advance(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        backward(model, step, shape=MLP)
        optimizer.step()


@pytest.mark.parametrize("order", ["mos", "mso", "oms", "osm", "smo", "som"])
@pytest.mark.parametrize("late", [False, True], ids=["sparsifier first", "weights first"])
def test_resume_is_bit_equal_in_any_order_of_loading(order: str, late: bool, tmp_path: Path) -> None:
    model, optimizer, sparsifier = start()
    advance(model, optimizer, 0, 5)
    file = tmp_path / "checkpoint.pt"
    torch.save({"m": model.state_dict(), "o": optimizer.state_dict(), "s": sparsifier.state_dict()}, file)
    advance(model, optimizer, 5, 10)

    saved: dict[str, Any] = torch.load(file, weights_only=True)
    if late:  # the checkpoint is in the model before the Sparsifier, whose first masks must not destroy it
        twin = mlp(seed=4)
        twin_optimizer = torch.optim.Adam(twin.parameters(), lr=0.01, weight_decay=0.01)
        twin.load_state_dict(saved["m"])
        twin_optimizer.load_state_dict(saved["o"])
        twin_sparsifier = Sparsifier(twin, METHOD, twin_optimizer, protect=NOTHING, seed=4)
        twin_sparsifier.load_state_dict(saved["s"])
    else:
        twin, twin_optimizer, twin_sparsifier = start(seed=4)
        loaders = {"m": twin, "o": twin_optimizer, "s": twin_sparsifier}
        for key in order:
            loaders[key].load_state_dict(saved[key])
    assert_dropped_is_zero(twin_sparsifier, twin)
    advance(twin, twin_optimizer, 5, 10)
    assert_dropped_is_zero(twin_sparsifier, twin, twin_optimizer)
    assert twin_sparsifier.history == sparsifier.history
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
        for key, value in optimizer.state[a].items():
            assert torch.equal(value, twin_optimizer.state[b][key])


@pytest.mark.parametrize("order", ["mos", "mso", "oms", "osm", "smo", "som"])
def test_a_running_loop_rolls_back_in_any_order(order: str) -> None:
    """The masks of the run that is undone must not destroy weights that those of the checkpoint keep."""
    model, optimizer, sparsifier = start()
    advance(model, optimizer, 0, 3)
    saved = copy.deepcopy(
        {"m": model.state_dict(), "o": optimizer.state_dict(), "s": sparsifier.state_dict()}
    )
    advance(model, optimizer, 3, 9)
    end, history = [p.detach().clone() for p in model.parameters()], sparsifier.history
    assert any(bool((mask != sparsifier.masks[name]).any()) for name, mask in saved["s"]["masks"].items())
    loaders: dict[str, Any] = {"m": model, "o": optimizer, "s": sparsifier}
    for key in order:
        loaders[key].load_state_dict(saved[key])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved["m"][name])
    advance(model, optimizer, 3, 9)
    assert sparsifier.history == history
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), end, strict=True))


@pytest.mark.parametrize("at", range(10))
def test_resume_is_bit_equal_from_every_step(at: int) -> None:
    model, optimizer, sparsifier = start()
    advance(model, optimizer, 0, at)
    file = _saved({"m": model.state_dict(), "o": optimizer.state_dict(), "s": sparsifier.state_dict()})
    advance(model, optimizer, at, 10)
    twin, twin_optimizer, twin_sparsifier = start(seed=4)
    saved = torch.load(file, weights_only=True)
    twin_sparsifier.load_state_dict(saved["s"])
    twin_optimizer.load_state_dict(saved["o"])
    twin.load_state_dict(saved["m"])
    advance(twin, twin_optimizer, at, 10)
    assert twin_sparsifier.history == sparsifier.history
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_optimizer_state_loaded_alone_obeys_the_masks() -> None:
    model, optimizer, sparsifier = start()
    advance(model, optimizer, 0, 4)
    state = copy.deepcopy(optimizer.state_dict())
    for tensors in state["state"].values():
        tensors["exp_avg"].fill_(7.0)
        tensors["exp_avg_sq"].fill_(7.0)
    optimizer.load_state_dict(state)
    advance(model, optimizer, 4, 5)
    assert sparsifier.history[-1].step == 4  # no edit since, which would mask state anyway
    assert_dropped_is_zero(sparsifier, model, optimizer)


def test_step_counts_of_grown_weights_follow_an_optimizer_that_is_loaded_alone() -> None:
    results = []
    for whole in (True, False):
        model, optimizer, sparsifier = start()
        advance(model, optimizer, 0, 4)  # the edit after step 4 has grown weights
        saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), sparsifier.state_dict()))
        advance(model, optimizer, 4, 5)
        model.load_state_dict(saved[0])
        optimizer.load_state_dict(saved[1])
        if whole:
            sparsifier.load_state_dict(saved[2])
        else:
            assert all(torch.equal(mask, sparsifier.masks[n]) for n, mask in saved[2]["masks"].items())
            sparsifier.step -= 1
        advance(model, optimizer, 4, 5)
        results.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_weights_written_by_hand_are_not_undone() -> None:
    """Weights copied in place, not with load_state_dict, then the Sparsifier's state: what was copied stays."""
    model, optimizer, sparsifier = start()
    advance(model, optimizer, 0, 5)
    twin, _, twin_sparsifier = start(seed=4)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        theirs.data.copy_(mine.data)
    twin_sparsifier.load_state_dict(sparsifier.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_damaged_states_are_refused_with_a_sentence() -> None:
    _, _, sparsifier = start()
    state = sparsifier.state_dict()
    flipped = {name: ~mask for name, mask in state["masks"].items()}
    with pytest.raises(CheckpointError, match="this state is damaged: expected masks whose hash is"):
        sparsifier.load_state_dict({**state, "masks": flipped})
    del state["births"]
    with pytest.raises(CheckpointError, match=r"expected the state_dict of a Sparsifier \(births, event,"):
        sparsifier.load_state_dict(state)


def test_checkpoints_of_other_runs_are_refused_with_a_sentence() -> None:
    _, _, sparsifier = start()
    state = sparsifier.state_dict()
    other = Sparsifier(bottleneck(), METHOD)
    with pytest.raises(
        CheckpointError, match=r"another model or protects other layers.*not in it: conv1.weight"
    ):
        other.load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"expected the state_dict of a Sparsifier.*got 0.weight"):
        sparsifier.load_state_dict(mlp().state_dict())
    wider = Sparsifier(
        nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 4)),
        METHOD,
        protect=NOTHING,
    )
    with pytest.raises(
        CheckpointError,
        match=r"expected for '0.weight' torch.bool of shape \(9, 6\), got torch.bool of shape \(8, 6\)",
    ):
        wider.load_state_dict(state)
    static = Sparsifier(mlp(), Static(sparsity=0.6), protect=NOTHING)
    with pytest.raises(CheckpointError, match=r"another run: expected Static.*got RigL"):
        static.load_state_dict(state)
    with pytest.raises(CheckpointError, match="version 2, got 7"):
        sparsifier.load_state_dict({**state, "version": 7})


def test_masks_of_one_run_start_another() -> None:
    model, optimizer, sparsifier = start()
    advance(model, optimizer, 0, 5)
    masks = torch.load(_saved(sparsifier.state_dict()), weights_only=True)["masks"]
    sparsifier.finalize()
    tuned = Sparsifier(model, Static(initial="given"), optimizer, masks=masks)
    assert tuned.sparsity == pytest.approx(0.6, abs=0.01)


def _saved(state: dict[str, Any]) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer
