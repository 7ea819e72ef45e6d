"""A recipe's books: costs and memory in the result, and a sieve that shortens the epochs after it, resumed bit for bit."""

import numpy as np
import pytest
import torch
from helpers import Notes, never, plan
from safetensors.torch import load_file

from gossamer.errors import RecipeError
from gossamer.recipes import building, loop
from gossamer.recipes.calendar import Calendar
from gossamer.recipes.run_folder import RunFolder

SIEVE = "train.sieve={at_epoch: 2, max_fraction: 0.4, min_presentations: 1}"
LONG = ("train.epochs=5", "method.stop=12", "train.images=null", "train.batch_size=500")


def stop_after(count):
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= count


def train(folder, *overrides, stop=never):
    notes = Notes()
    return loop.train(plan(*overrides), folder, notes, stop), notes


def rows_without_time(folder):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in folder.rows()]


def test_costs_of_a_dense_run_by_hand(tmp_path):
    result, _ = train(RunFolder(path=tmp_path / "run"), "method=dense")
    cost, memory = result["cost"], result["memory"]
    sizes = cost["sizes"]
    assert cost["examples"] == 24 * 32
    # every weight of a linear layer forward and for its own gradient, all but the first one's for the input's
    assert cost["macs"] == cost["dense_macs"] == 24 * 32 * (3 * sum(sizes) - sizes[0])
    assert cost["trace"] == [{"step": 0, "num_kept": sizes}]
    assert memory["measured"] == memory["predicted"]["dense"]["target"]
    assert memory["predicted"].keys() == {"dense"}
    assert result["sieve"] is None


def test_costs_of_a_gradual_run(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    result, _ = train(folder)
    cost, memory = result["cost"], result["memory"]
    assert result["num_kept"] / result["num_weights"] < cost["macs"] / cost["dense_macs"] < 1
    assert memory["measured"] == memory["predicted"]["masked"]["target"]
    predicted = memory["predicted"]["compact"]
    assert predicted["target"]["total"] < predicted["peak"]["total"]  # it begins dense
    rows = folder.rows()
    assert rows[-1]["memory"] == memory["measured"]["total"]
    assert (rows[-1]["examples"], rows[-1]["macs"]) == (cost["examples"], cost["macs"])
    assert [row["examples"] for row in rows] == [32 * row["step"] for row in rows]


def test_the_books_leave_no_trace_in_the_run(tmp_path, monkeypatch):
    """Profiling makes a forward pass, which must not touch random numbers or norms."""
    torch.manual_seed(0)
    run = loop.Run(made := plan(), made.task.data["embedded"].load())
    torch.manual_seed(made.recipe.seed)
    fresh = building.model_of(made).state_dict()
    kept = run.sparsifier.masks
    state = torch.get_rng_state()
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, fresh[name].masked_fill(~kept[name], 0) if name in kept else fresh[name])
    assert torch.equal(state, run.state().random)
    assert run.state().accounting["meter"]["examples"] == 0


def test_a_sieve_shortens_the_epochs_after_it(tmp_path):
    folder = RunFolder(path=tmp_path / "run")
    result, notes = train(folder, SIEVE, *LONG)
    removal, cost = result["sieve"], result["cost"]
    images = removal["num_examples"]
    full = images // 500
    removed = np.load(folder.removed)
    assert 0 < removal["removed"] == len(removed) == len(set(removed.tolist())) <= 0.4 * images
    shorter = (images - len(removed)) // 500
    assert shorter < full
    assert result["steps"] == 2 * full + 3 * shorter == notes.steps[-1].num_steps
    assert cost["examples"] == 500 * result["steps"]
    assert cost["examples_left_out"] == 500 * 3 * (full - shorter)
    assert cost["macs_left_out"] > 0
    assert [progress.epoch for progress in notes.epochs] == [1, 2, 3, 4, 5]
    assert notes.lines[0].startswith("sieve: after epoch 2 removed")
    rates = [row["learning_rate"] for row in folder.rows()]
    assert rates[-1] < 0.05 * max(rates)  # the cosine ends with the shorter run
    assert sum(removal["per_class"][label][0] for label in removal["per_class"]) == len(removed)


def test_removed_images_are_not_trained_on(tmp_path):
    made = plan(SIEVE, *LONG)
    run = loop.Run(made, made.task.data["embedded"].load())
    while run.removal is None:
        run.one_step()
    removed = set(run.books.sieve.removed.tolist())
    assert not removed & set(run.books.order(3).tolist())
    assert len(run.books.order(3)) == len(run.books.sieve.kept)


@pytest.mark.parametrize("stops", [(3, 4), (9, 5)])
def test_a_resumed_run_with_a_sieve_is_bit_equal(tmp_path, stops):
    whole, parts = RunFolder(path=tmp_path / "whole"), RunFolder(path=tmp_path / "parts")
    first, _ = train(whole, SIEVE, *LONG)
    for count in stops:  # before the removal, in the middle of an epoch; and after it
        with pytest.raises(loop.Interrupted):
            train(parts, SIEVE, *LONG, stop=stop_after(count))
        torch.manual_seed(99)
    second, _ = train(parts, SIEVE, *LONG)
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert rows_without_time(whole) == rows_without_time(parts)
    assert whole.removed.read_bytes() == parts.removed.read_bytes()
    weights, others = load_file(whole.model), load_file(parts.model)
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    parts.clear()
    assert not parts.removed.exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("train.sieve={at_epoch: 3}",), r"sieve: expected at_epoch below the 3 epochs of the run, got 3"),
        (("train.sieve={at_epoch: 0, min_presentations: 1}",), r"at_epoch: expected at least 1 epoch"),
        (("train.sieve={at_epoch: 2, fraction: 0.2}",), r"train\.sieve\.fraction: unknown key.*max_fraction"),
        (
            ("train.sieve={at_epoch: 1, max_fraction: 0.5, min_presentations: 1}", "method.stop=100%"),
            r"method\.stop.*the last edit is at step 2\d, but the sieve may shorten the run to 16 steps",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(overrides, message):
    with pytest.raises(RecipeError, match=message):
        plan(*overrides)


def test_quick_keeps_the_sieve():
    assert plan("train.epochs=9", "train.sieve={at_epoch: 8}", quick=True).recipe.train.sieve.at_epoch == 1


def test_a_calendar_without_a_sieve_is_that_of_equal_epochs():
    calendar = Calendar(epochs=3, steps_per_epoch=7)
    assert [calendar.place(step) for step in (0, 6, 7, 21)] == [(0, 0, 7), (0, 6, 7), (1, 0, 7), (3, 0, 7)]
    assert all(calendar.full_step(step) == step and isinstance(step, int) for step in range(22))
    assert calendar.num_steps == 21
