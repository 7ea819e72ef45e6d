"""Without the framework an import says which extra to install."""

import importlib
import sys

import pytest

from gossamer.errors import MissingExtraError


@pytest.mark.parametrize(
    ("module", "package"),
    [("huggingface", "transformers"), ("lightning", "lightning.pytorch"), ("accelerate", "accelerate")],
)
def test_missing_extra_is_named(module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if module == "huggingface":
        pytest.importorskip("accelerate")
    name = f"gossamer.integrations.{module}"
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(
        MissingExtraError, match=rf"{module} needs {package}.*pip install 'gossamer\[{module}\]'"
    ):
        importlib.import_module(name)
