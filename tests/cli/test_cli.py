"""The command line from outside: help, JSON, exit codes, errors without tracebacks."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gossamer.cli.app import run
from gossamer.recipes.run_folder import RunFolder

COMMANDS = [
    "train",
    "prune",
    "pack",
    "inspect",
    "bench",
    "run",
    "cost",
    "report",
    "data",
    "recipes",
    "doctor",
]

RECIPE = """\
name: tiny
task: fashion-mnist
model: mlp
threads: 1
protect: {first: false}
method: {name: gradual, sparsity: 0.9, stop: 50%, every: 1}
train: {epochs: 2, batch_size: 32, images: 128, test_images: 50, channels_last: false}
"""


def test_reference_page_is_current(monkeypatch):
    from gossamer.cli.reference import page

    path = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
    assert path.read_text(encoding="utf-8") == page(), (
        "python -m gossamer.cli.reference > docs/reference/cli.md"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_json(command, capsys):
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    if command in ("data", "recipes"):
        assert run([command, "list", "--help"]) == 0
        text = capsys.readouterr().out
    assert "Example" in text
    assert "--json" in text


def test_help_loads_no_torch():
    code = (
        "import sys; from gossamer.cli.app import run; run(['--help']); run(['doctor', '--json']);"
        "sys.exit('torch' in sys.modules or 'yaml' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


def test_the_package_runs_as_a_module():
    version = [sys.executable, "-m", "gossamer", "--version"]
    assert subprocess.run(version, capture_output=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "fashion-mnist-resnet20-grad"], "did you mean fashion-mnist-resnet20-gradual"),
        (["train", "absent.yaml"], "cannot read the recipe absent.yaml"),
        (["train", "fashion-mnist-resnet20-gradual", "method.sparsity=1.2"], "got 1.2"),
        (["train", "fashion-mnist-resnet20-gradual", "--fresh", "--resume"], "exclude each other"),
        (
            ["train", "fashion-mnist-resnet20-gradual", "--resume", "--out", "nowhere"],
            "no checkpoint in nowhere",
        ),
        (["pack", "absent"], "no such file or folder"),
        (["pack", "torch.nn:Identity"], "expected --input"),
        (["pack", "nowhere.nets:small", "--input", "1x3", "--pattern", "3:2"], "got 3:2; write 2:3"),
        (
            ["run", "absent.safetensors", "x.npy", "--top", "-1"],
            "--top: expected a whole number from 1 on, got -1",
        ),
        (["bench", "absent.safetensors", "--plot", "/proc/x.html"], "cannot write /proc/x.html"),
        (["bench", "absent.safetensors", "-o", "/proc/x.json"], "cannot write /proc/x.json"),
        (
            ["cost", "fashion-mnist-resnet20-set", "--plot", "/proc/x.svg"],
            "cannot write /proc/x.svg",
        ),
        (["prune", "nowhere.nets:small", "--sparsity", "0.5", "-o", "/proc/x/y"], "cannot write /proc/x/y"),
        (["pack", "nowhere.nets:small", "--input", "1x3"], "nowhere"),
        (["prune", "gossamer.tasks.models:mlp", "--sparsity", "1.2", "-o", "x"], "got 1.2"),
        (["inspect", "absent.safetensors"], "absent.safetensors"),
        (["run", "absent.safetensors", "x.npy"], "absent.safetensors"),
        (["bench", "absent.safetensors"], "absent.safetensors"),
        (["report", "absent.json"], "cannot read absent.json"),
        (
            ["data", "get", "imagenet"],
            "expected the name of a data set (fashion-mnist, efficientnet-lite0), got 'imagenet'",
        ),
        (["recipes", "show", "nothing"], "unknown recipe"),
    ],
)
def test_errors(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in captured.err
    assert message in json.loads(captured.out)["error"]


def test_wrong_use_is_explained(capsys):
    assert run(["inspect"]) == 2
    assert run(["inspekt"]) == 2
    assert "inspekt" in capsys.readouterr().err


def test_missing_extra_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "yaml", None)
    for name in [name for name in sys.modules if name.startswith("gossamer.recipes")]:
        monkeypatch.delitem(sys.modules, name)
    assert run(["recipes", "list"]) == 2
    assert "pip install 'gossamer[train]'" in capsys.readouterr().err


def test_lists(capsys):
    for arguments, key in (
        (["data", "list"], "data_sets"),
        (["recipes", "list"], "recipes"),
        (["doctor"], "packages"),
    ):
        assert run([*arguments, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[key]


def test_data_get_and_path(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("GOSSAMER_CACHE", str(tmp_path))
    assert run(["data", "path", "fashion-mnist"]) == 2
    assert "gossamer data get fashion-mnist" in capsys.readouterr().err
    assert run(["data", "get", "fashion-mnist", "--from", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that the tests below share."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(RECIPE)
    assert run(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
    return folder


def test_train_again_says_that_it_is_finished(trained, capsys):
    assert run(["train", str(trained / "tiny.yaml"), "--out", str(trained / "run"), "--json"]) == 0
    captured = capsys.readouterr()
    assert "nothing to do" in captured.err
    assert json.loads(captured.out)["steps"] == 8
    assert run(["train", str(trained / "tiny.yaml"), "seed=1", "--out", str(trained / "run")]) == 2
    assert "another recipe (seed: 1 here, 0 there)" in capsys.readouterr().err


def test_a_folder_that_is_trained_in_is_not_cleared(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    folder = RunFolder(path=Path("run"))
    with folder.locked():  # as another process does while it trains there
        assert run(["train", "tiny.yaml", "--out", "run", "--fresh"]) == 2
    assert "another process is training in run" in capsys.readouterr().err
    assert folder.is_finished
    assert folder.metrics.is_file()


def test_pack_inspect_run_report(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    assert run(["pack", "run", "-o", "net.safetensors", "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert packed["bytes"] == (trained / "net.safetensors").stat().st_size
    assert packed["sparsity"] == pytest.approx(0.9, abs=1e-4)

    assert run(["inspect", "net.safetensors", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_weights"] == 266_200
    assert found["inputs"] == {"x": ["n", 1, 28, 28]} or list(found["inputs"].values()) == [["n", 1, 28, 28]]
    assert all(row["kernel"] for row in found["rows"])
    assert 0 < sum(row["bytes_stored"] for row in found["rows"]) < found["size"]

    name = next(iter(found["inputs"]))
    images = np.random.default_rng(0).standard_normal((2, 1, 28, 28), dtype=np.float32)
    np.save("x.npy", images)
    np.save("one.npy", images[0])
    np.savez("x.npz", **{name: images})
    answers = []
    for file in ("x.npy", "x.npz", "one.npy"):
        assert run(["run", "net.safetensors", file, "-o", "y.npy", "--json"]) == 0
        answers.append(np.load("y.npy"))
        assert len(json.loads(capsys.readouterr().out)["predictions"][0]) == 3
    assert np.array_equal(answers[0], answers[1])
    assert answers[2].shape == (1, 10)

    from PIL import Image

    Image.fromarray(np.arange(60 * 40, dtype=np.uint8).reshape(60, 40)).save("photo.png")
    assert run(["run", "net.safetensors", "photo.png"]) == 0
    shown = capsys.readouterr().out
    assert "%" in shown
    assert "note" not in shown  # the recipe's run stored how images are prepared
    Path("broken.npz").write_bytes(b"PK\x03\x04 no zip")
    Path("several.npy").write_bytes(Path("x.npz").read_bytes())
    Path("single.npz").write_bytes(Path("x.npy").read_bytes())
    for wrong in ("net.safetensors", "absent.png", "absent.npy", "broken.npz", "several.npy", "single.npz"):
        assert run(["run", "net.safetensors", wrong]) == 2
        assert wrong in capsys.readouterr().err

    assert run(["report", "run", "-o", "report.html"]) == 0
    assert "<svg" in (trained / "report.html").read_text()
    capsys.readouterr()


def test_a_truncated_packed_file_is_named(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    assert run(["pack", "run", "-o", "whole.safetensors"]) == 0
    content = (trained / "whole.safetensors").read_bytes()
    (trained / "cut.safetensors").write_bytes(content[: len(content) // 2])
    capsys.readouterr()
    for command in (["inspect", "cut.safetensors"], ["run", "cut.safetensors", "x.npy"]):
        assert run(command) == 2
        assert "cut.safetensors" in capsys.readouterr().err


def test_prune_then_pack(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    model = ["gossamer.tasks.models:mlp"]
    weights = ["--weights", "run/model.safetensors"]
    assert run(["prune", *model, *weights, "--sparsity", "0.1", "-o", "pruned", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sparsity"] == pytest.approx(0.1, abs=1e-3)
    shape = ["--input", "1x1x28x28"]
    assert (
        run(
            ["pack", *model, "--weights", "pruned/model.safetensors", *shape, "-o", "p.safetensors", "--json"]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["sparsity"] > 0.09
    assert run(["pack", "gossamer.tasks.models:resnet20", *weights, *shape, "-o", "q.safetensors"]) == 2
    assert "another model than ResNet20" in capsys.readouterr().err
    Path("mixed").mkdir()
    Path("mixed/masks.safetensors").write_bytes(Path("pruned/masks.safetensors").read_bytes())
    import torch

    from gossamer.tasks.models import mlp

    torch.save(mlp().state_dict(), "mixed/dense.pt")
    assert run(["pack", *model, "--weights", "mixed/dense.pt", *shape, "-o", "q.safetensors"]) == 2
    assert "masks.safetensors does not belong to mixed/dense.pt" in capsys.readouterr().err
    kept = Path("run/model.safetensors").read_bytes()
    assert run(["pack", *model, *weights, *shape, "-o", "run/model.safetensors"]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert Path("run/model.safetensors").read_bytes() == kept
    assert run(["pack", *model, *weights, *shape]) == 0
    assert Path("mlp.gsm.safetensors").is_file()


def test_json_is_one_object_and_text_is_elsewhere(trained):
    done = subprocess.run(
        [sys.executable, "-m", "gossamer.cli", "recipes", "check", str(trained / "tiny.yaml"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["num_steps"] == 8
    assert "fine" in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model=torch.nn:Identity"], "expected logits [2, 10]"),
        (["method.pattern=block:7x3"], "block:7x3 needs rows divisible by 7"),
        (["protect={first: true}"], "every other layer keeps"),
    ],
)
def test_check_finds_what_training_would(trained, settings, message, capsys):
    assert run(["recipes", "check", str(trained / "tiny.yaml"), *settings]) == 2
    assert message in capsys.readouterr().err


def test_a_model_that_prints_leaves_one_json_object(trained, capsys, monkeypatch):
    (trained / "noisy.py").write_text(
        "from gossamer.tasks.models import mlp\nprint('made')\ndef net():\n    print('called')\n    return mlp()\n"
    )
    monkeypatch.chdir(trained)
    assert run(["pack", "noisy:net", "--input", "1x1x28x28", "-o", "n.safetensors", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["bytes"] > 0
    assert "called" in captured.err
    assert "no --weights given" in captured.err
    assert run(["run", "n.safetensors", "absent.npy"]) == 2
    assert run(["pack", "noisy:net", "--input", "1x7", "-o", "n.safetensors", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["kind"]


def test_an_image_for_a_file_without_preprocessing_is_explained(trained, capsys, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(trained)
    model = ["gossamer.tasks.models:mlp", "--input", "1x1x28x28"]
    assert run(["pack", *model, "-o", "plain.safetensors"]) == 0
    Image.fromarray(np.zeros((20, 30), np.uint8)).save("small.png")
    assert run(["run", "plain.safetensors", "small.png"]) == 0
    assert "does not say how images are prepared" in capsys.readouterr().out


@pytest.mark.slow
def test_help_is_fast():
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "gossamer.cli", "--help"], stdout=subprocess.DEVNULL, check=True
        )
        times.append(time.perf_counter() - begun)
    assert min(times) < 1.0


def test_the_pattern_goes_with_the_masks(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    model = ["gossamer.tasks.models:mlp", "--weights"]
    prune = ["prune", *model, "run/model.safetensors", "--pattern", "block:4x1", "-o", "blocks"]
    assert run([*prune, "--sparsity", "0.1"]) == 0
    assert "--pattern" not in capsys.readouterr().out
    pack = [
        "pack",
        *model,
        "blocks/model.safetensors",
        "--input",
        "1x1x28x28",
        "-o",
        "b.safetensors",
        "--json",
    ]
    assert run(pack) == 0
    rows = json.loads(capsys.readouterr().out)["weights"]
    assert sum(row["format"] == "block" for row in rows) == 1
    assert run([*pack, "--pattern", "unstructured"]) == 0
    assert all(row["format"] != "block" for row in json.loads(capsys.readouterr().out)["weights"])


def test_errors_of_prune_speak_of_the_command(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    prune = ["prune", "gossamer.tasks.models:mlp", "-o", "x"]
    assert run(prune) == 2
    assert capsys.readouterr().err.startswith("error: expected a sparsity such as 0.9")
    assert run([*prune, "--sparsity", "0.99"]) == 2
    assert "protect: in a recipe, change that" in capsys.readouterr().err


def test_more_threads_than_cpus(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    assert run(["pack", "run", "-o", "t.safetensors"]) == 0
    assert run(["run", "t.safetensors", "x.npy", "--threads", "4096"]) == 2
    assert "(the CPUs this process may use), got 4096" in capsys.readouterr().err
    assert run(["train", "tiny.yaml", "threads=4096", "--out", "much"]) == 2
    assert "(the CPUs this process may use), got 4096" in capsys.readouterr().err


def test_a_plain_checkpoint_is_no_packed_network(tmp_path, capsys):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"step": torch.zeros(1, dtype=torch.int64), "weight": torch.ones(2, 2)}, path)
    assert run(["inspect", str(path)]) == 2
    assert "error: " + str(
        path
    ) + ": this safetensors file is not a packed network (no gossamer manifest" in (capsys.readouterr().err)


def test_runs_of_one_name_are_told_apart(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    for name in ("first", "second"):
        shutil.copytree("run", f"{name}/run")
    assert run(["report", "first/run", "second/run", "run", "-o", "three.html"]) == 0
    page = Path("three.html").read_text()
    assert "first/run" in page
    assert "second/run" in page
