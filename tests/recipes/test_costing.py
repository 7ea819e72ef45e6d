"""What a recipe costs, from fresh processes; and the command that prints it."""

import json

import pytest
from helpers import RECIPE, plan

from gossamer.cli.app import run
from gossamer.errors import GossamerError
from gossamer.recipes import costing, document

EMS = "method={name: mest, sparsity: 0.9, kind: 'em&s', mutation: 0.05, every: 4, stop: 60%}"


def test_what_was_resident_for_a_moment_before_training_is_not_its_memory() -> None:
    ones = bytearray(256 << 20)
    ones[:] = b"1" * len(ones)  # touched: resident
    del ones
    process = costing.first_steps(plan("method=dense"), 1)["process"]
    assert 0 <= process["added"] < 200 << 20
    assert process["peak"] == process["before"] + process["added"]


@pytest.mark.native
def test_costs_of_all_storages() -> None:
    recipe = document.with_overrides(document.parse(RECIPE, name="small.yaml"), [EMS])
    found = costing.costs_of(recipe, steps=2)
    predicted, measured = found["predicted"], found["measured"]
    assert list(measured) == list(predicted) == ["dense", "masked", "compact"]
    assert measured["dense"]["memory"] == predicted["dense"]["target"]
    assert all(row["process"]["added"] > 0 for row in measured.values())
    # the peak is trained from the first step on; its births come with the first growth
    peak, compact = predicted["compact"]["peak"], measured["compact"]["memory"]
    assert {kind: compact[kind] for kind in ("weights", "gradients")} == {
        kind: peak[kind] for kind in ("weights", "gradients")
    }
    assert (
        predicted["compact"]["target"]["weights"] < peak["weights"] < predicted["dense"]["target"]["weights"]
    )
    assert found["run"]["steps"] == 24
    assert found["run"]["examples"] == 24 * 32
    assert 0.1 < found["run"]["macs"] / found["run"]["dense_macs"] < 0.2


def test_a_storage_that_cannot_be_says_why_and_a_wrong_recipe_is_refused() -> None:
    recipe = document.parse(RECIPE, name="small.yaml")
    rigl = document.with_overrides(recipe, ["method={name: rigl, sparsity: 0.9, every: 4, stop: 60%}"])
    found = costing.costs_of(rigl, steps=1)
    assert "gradient" in found["measured"]["compact"]["error"]
    assert "memory" in found["measured"]["masked"]
    with pytest.raises(GossamerError, match="sparsity between 0 %"):
        costing.costs_of(document.with_overrides(recipe, ["protect={first: true, last: true}"]), steps=1)


def test_the_command(tmp_path, capsys) -> None:
    file, plot = tmp_path / "small.yaml", tmp_path / "density.svg"
    file.write_text(RECIPE)
    assert run(["cost", str(file), "method=dense", "--steps", "1", "--plot", str(plot), "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert list(found["measured"]) == ["dense"]
    assert found["run"]["macs"] == found["run"]["dense_macs"] > 0
    assert "dense: measured after 1 steps" in printed.err
    assert plot.read_text().startswith("<svg")
    assert run(["cost", str(file), "--steps", "0"]) == 2
    assert "expected at least 1" in capsys.readouterr().err
