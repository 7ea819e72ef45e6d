"""gossamer recipes: what is shipped, what a recipe will do, the schema."""

import json

import pytest

from gossamer.cli.app import run


def test_recipes_check_tells_the_stages_and_the_peak(capsys):
    assert run(["recipes", "check", "fashion-mnist-resnet20-gap", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in found["stages"]] == [
        "grow 0",
        "grow 1",
        "grow 2",
        "grow 3",
        "fine-tune",
    ]
    assert sum(stage["steps"] for stage in found["stages"]) == found["num_steps"]
    assert found["stages"][-1]["density"] == pytest.approx(0.1, abs=1e-4)
    assert found["peak_density"] == max(stage["density"] for stage in found["stages"])
    assert run(["recipes", "check", "fashion-mnist-resnet20-gap"]) == 0
    assert (
        "stage 5/5 fine-tune: from step 412, 446 steps (5.7 epochs), density 10.0%" in capsys.readouterr().out
    )


def test_recipes_show_check_schema(capsys):
    assert run(["recipes", "show", "fashion-mnist-resnet20-rigl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["method"]["name"] == "rigl"
    assert run(["recipes", "show", "fashion-mnist-resnet20-rigl", "train.epochs=3"]) == 0
    assert "epochs: 3" in capsys.readouterr().out
    assert run(["recipes", "check", "fashion-mnist-resnet20-rigl", "train.epochs=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_steps"] == 156
    assert run(["recipes", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Gossamer recipe"
