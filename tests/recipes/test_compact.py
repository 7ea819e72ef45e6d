"""A recipe with `storage: compact`: trains the kept weights alone, goes on bit for bit, and leaves files that dense models load."""

import json
from pathlib import Path

import pytest
import torch
from helpers import Notes, never, plan
from safetensors.torch import load_file
from typer.testing import CliRunner

from gossamer.cli import app
from gossamer.cli.subjects import subject_of
from gossamer.errors import RecipeError
from gossamer.export import load_model
from gossamer.formats import container
from gossamer.recipes import building, loop
from gossamer.recipes.run_folder import RunFolder
from gossamer.recipes.tensors import write_tensors
from gossamer.training.compact import CompactLayer, SparseConv2d, SparseLinear

SET = "method={name: set, sparsity: 0.9, stop: 75%, every: 3}"
COMPACT = "train.storage=compact"
CPU = torch.device("cpu")


def train(folder: RunFolder, *overrides: str, stop=never) -> tuple[dict[str, object], Notes]:
    notes = Notes()
    return loop.train(plan(*overrides), folder, notes, stop), notes


def stop_after(count: int):
    """Says stop when it has been asked that often."""
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= count


def test_a_run_leaves_what_a_masked_run_leaves(tmp_path: Path):
    compact, masked = RunFolder(path=tmp_path / "compact"), RunFolder(path=tmp_path / "masked")
    ours, _ = train(compact, SET, COMPACT)
    theirs, _ = train(masked, SET)
    assert (ours["storage"], theirs["storage"]) == ("compact", "masked")
    same = ("num_weights", "num_kept", "sparsity", "peak_kept", "steps", "kept_whole")
    assert [ours[key] for key in same] == [theirs[key] for key in same]
    assert ours["cost"] == theirs["cost"]
    assert [row["num_kept"] for row in ours["layers"]] == [row["num_kept"] for row in theirs["layers"]]
    assert abs(ours["test_accuracy"] - theirs["test_accuracy"]) <= 0.1  # of 100 images
    rows = compact.rows(), masked.rows()
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    assert abs(rows[0][0]["loss"] - rows[1][0]["loss"]) < 0.05
    assert {name: (t.shape, t.dtype) for name, t in load_file(compact.model).items()} == {
        name: (t.shape, t.dtype) for name, t in load_file(masked.model).items()
    }
    weights, masks = load_file(compact.model), load_file(compact.masks)
    assert {name: mask.sum() for name, mask in masks.items()} == {
        name: mask.sum() for name, mask in load_file(masked.masks).items()
    }
    for name, mask in masks.items():
        assert (weights[name][~mask] == 0).all()
    dense = building.model_of(plan(SET))
    dense.load_state_dict(weights)  # the file of a compact run loads into the dense model
    values = load_file(compact.compact)
    assert compact.compact.stat().st_size < 0.3 * compact.model.stat().st_size
    assert set(values) >= {"1.values", "1.places", "1.bias"}
    assert not masked.compact.exists()


def test_the_same_masks_and_losses_as_masked_until_the_first_edit():
    data = plan().task.data["embedded"].load()
    runs = [loop.Run(plan(SET, storage), data) for storage in ("train.storage=masked", COMPACT)]
    for _ in range(3):
        losses = [run.one_step() for run in runs]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    masks = [run.sparsifier.masks for run in runs]
    assert list(masks[0]) == list(masks[1])
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_memory_is_that_of_the_kept_weights(tmp_path: Path):
    sgd = "train.optimizer={kind: sgd, lr: 0.05}"
    result, _ = train(RunFolder(path=tmp_path / "run"), SET, COMPACT, sgd)
    memory = result["memory"]
    measured, predicted = memory["measured"], memory["predicted"]
    for kind in ("weights", "gradients", "optimizer"):
        assert measured[kind] == predicted["compact"]["peak"][kind], kind
        assert measured[kind] < 0.13 * predicted["dense"]["target"][kind], kind


@pytest.mark.parametrize("optimizer", ["{kind: adamw, lr: 0.002}", "{kind: sgd, lr: 0.05}"])
def test_a_resumed_run_is_bit_equal(tmp_path: Path, optimizer: str):
    whole, parts = RunFolder(path=tmp_path / "whole"), RunFolder(path=tmp_path / "parts")
    overrides = SET, COMPACT, f"train.optimizer={optimizer}"
    train(whole, *overrides)
    for count in (3, 2, 8):
        with pytest.raises(loop.Interrupted, match="the state is saved"):
            train(parts, *overrides, stop=stop_after(count))
        torch.manual_seed(99)
    _, notes = train(parts, *overrides)
    assert notes.lines == [f"resuming {parts.path} at step 13 of 24"]
    for file in ("model", "compact", "masks"):
        assert getattr(whole, file).read_bytes() == getattr(parts, file).read_bytes(), file


def test_convolutions_and_the_decay_of_kept_values():
    made = plan(SET, COMPACT, "model=resnet20", "method.allocation=erk", "protect.first=true")
    built = building.built(made, CPU)
    kinds = {type(layer) for layer in built.model.modules() if isinstance(layer, CompactLayer)}
    assert kinds == {SparseConv2d}
    decayed, rest = (group["params"] for group in built.optimizer.param_groups)
    values = [layer.values for layer in built.model.modules() if isinstance(layer, CompactLayer)]
    assert {id(value) for value in values} <= {id(parameter) for parameter in decayed}
    assert all(parameter.dim() == 1 for parameter in rest)
    assert not any(
        isinstance(layer, SparseLinear) for layer in built.model.modules()
    )  # the last layer is protected


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=dense"], r"override 'train.storage=compact'.*dense training has nothing to leave out"),
        (
            ["method={name: rigl, sparsity: 0.9, stop: 60%, every: 2}"],
            r"train.storage: .*gradient of absent weights",
        ),
        (["device=cuda", SET], "compact weights train on the CPU, got device cuda"),
        ([SET, "train.storage=sparse"], "train.storage"),
    ],
)
def test_what_cannot_be_compact_is_refused_before_anything_is_built(overrides: list[str], message: str):
    with pytest.raises(RecipeError, match=message):
        plan(COMPACT, *overrides)


def test_a_run_is_packed_as_it_was_trained(tmp_path: Path):
    folder = RunFolder(path=tmp_path / "run")
    train(folder, SET, COMPACT)
    dense = subject_of(str(folder.path), weights=None, input_shape=None)  # what bench and prune work on
    assert not any(isinstance(layer, CompactLayer) for layer in dense.model.modules())
    assert dense.masks is not None
    assert set(dense.masks) == {"1.weight", "3.weight"}
    runner, found = CliRunner(), []
    for name, storage in (("compact", "compact"), ("masked", "masked")):
        if storage == "masked":  # as if the run had been masked: dense weights and masks of the same folder
            text = folder.recipe.read_text().replace("storage: compact", "storage: masked")
            folder.recipe.write_text(text)
            folder.compact.unlink()
        done = runner.invoke(
            app.app, ["pack", str(folder.path), "-o", str(tmp_path / f"{name}.gsm"), "--json"]
        )
        assert done.exit_code == 0, done.output
        metadata, tensors = container.parse((tmp_path / f"{name}.gsm").read_bytes())
        manifest = json.loads(metadata["gossamer"])
        del manifest["verification"], manifest["recipe"]
        found.append((manifest, {key: tensor.tobytes() for key, tensor in tensors.items()}))
    assert found[0] == found[1]


NET = """
from torch import nn
import gossamer

def net():
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 8))
    gossamer.compact_(model, 0.4, pattern="block:4x1")
    return model
"""


def test_a_callable_that_makes_compact_layers_is_packed_in_their_pattern(tmp_path: Path, monkeypatch):
    (tmp_path / "compact_nets.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    model = load_model("compact_nets:net")
    write_tensors(tmp_path / "net.safetensors", model.state_dict())
    masks = {"2.weight": model[2].mask()}
    write_tensors(tmp_path / "masks.safetensors", masks, metadata={"pattern": "block:4x1"})
    words = [
        "pack",
        "compact_nets:net",
        "--weights",
        "net.safetensors",
        "--input",
        "1x64",
        "-o",
        "a.gsm",
        "--json",
    ]
    done = CliRunner().invoke(app.app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(container.parse((tmp_path / "a.gsm").read_bytes())[0]["gossamer"])
    assert found["weights"]["2.weight"]["format"] == "block"
