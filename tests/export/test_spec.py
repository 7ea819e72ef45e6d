"""Models and inputs as the command line names them."""

import sys
from pathlib import Path

import pytest
import torch

from gossamer.errors import ExportError
from gossamer.export.spec import example_of, load_model, parse_shape, resolve_callable


def test_shapes() -> None:
    assert parse_shape("1x3x224x224") == (1, 3, 224, 224)
    assert parse_shape("7") == (7,)
    assert parse_shape("2X5") == (2, 5)
    assert torch.equal(example_of("2x3"), example_of("2x3"))


@pytest.mark.parametrize(
    "text", ["", "x", "1x", "1x-3", "1,3", "axb", "0x3", "1x3.0", "1x1x1x1x1x1x1x1x1", "99999x99999x9"]
)
def test_malformed_shapes(text: str) -> None:
    with pytest.raises(ExportError, match=r"as in 1x3x224x224, got"):
        parse_shape(text)


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "user_models_for_spec.py").write_text(
        "import torch.nn as nn\n"
        "def tiny(width=3): return nn.Linear(2, width)\n"
        "def fails(): raise ValueError('no weights')\n"
        "def needs(width): return nn.Linear(2, width)\n"
        "def wrong(): return 5\n"
        "made = nn.ReLU()\n"
        "number = 7\n"
    )
    (tmp_path / "user_broken_for_spec.py").write_text("import absent_dependency\n")
    (tmp_path / "user_raises_for_spec.py").write_text("1 / 0\n")
    return tmp_path


@pytest.mark.usefixtures("user_folder")
def test_models_of_the_current_directory() -> None:
    assert load_model("user_models_for_spec:tiny").out_features == 3
    assert load_model("user_models_for_spec:tiny", {"width": 5}).out_features == 5
    assert type(load_model("user_models_for_spec:made")).__name__ == "ReLU"
    assert resolve_callable("gossamer.tasks.models:resnet20").__name__ == "resnet20"  # type: ignore[attr-defined]


@pytest.mark.usefixtures("user_folder")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet20", "expected package.module:callable"),
        (":x", "expected package.module:callable"),
        ("absent_package.models:x", "there is no module absent_package in"),
        ("gossamer.taskz:x", "there is no module gossamer.taskz"),
        ("user_models_for_spec:tyni", "nearest: tiny"),
        ("user_models_for_spec:needs", "cannot be called with no arguments"),
        ("user_models_for_spec:fails", "making the model failed: ValueError: no weights"),
        ("user_models_for_spec:wrong", "expected a torch.nn.Module, got a int"),
        ("user_models_for_spec:number", "expected a callable that makes a model, got a int"),
        ("user_broken_for_spec:x", "needs the module absent_dependency, which is not installed"),
        ("user_raises_for_spec:x", "importing user_raises_for_spec failed: ZeroDivisionError"),
    ],
)
def test_mistakes(spec: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        load_model(spec)


def test_arguments_for_a_finished_module(user_folder: Path) -> None:
    with pytest.raises(ExportError, match="got a finished module"):
        load_model("user_models_for_spec:made", {"width": 3})
