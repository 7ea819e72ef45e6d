"""What importing costs and drags in, asked of fresh interpreters; and that the table of contents is true."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gossamer

HEAVY = ("torch", "numpy", "gossamer._native", "scipy", "matplotlib", "typer", "pydantic")


def loaded(statement: str, *names: str) -> set[str]:
    """Which of `names` a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*(n for n in {names!r} if n in sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return set(output.split())


def test_import_gossamer_loads_nothing_heavy():
    assert loaded("import gossamer", *HEAVY) == set()


def test_listing_names_loads_nothing():
    assert loaded("import gossamer; dir(gossamer)", *HEAVY) == set()


@pytest.mark.parametrize(
    "module",
    [
        "errors",
        "units",
        "graph",
        "formats",
        "kernels",
        "runtime",
        "export.fold",
        "export.weights",
        "export.arguments",
        "export.onnx",
    ],
)
def test_lower_floors_load_no_torch(module):
    assert loaded(f"import gossamer.{module}", "torch") == set()


@pytest.mark.parametrize("name", gossamer.__all__)
def test_public_name_exists(name):
    assert getattr(gossamer, name) is not None


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'gossamer' has no attribute 'Sparsifer'"):
        _ = gossamer.Sparsifer


def test_table_is_what_type_checkers_see():
    """The lazy table, `__all__` and the TYPE_CHECKING block of __init__.py name the same things."""
    tree = ast.parse(Path(gossamer.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (alias.name, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = set(gossamer._NAMES.items()) | {(module, "gossamer") for module in gossamer._MODULES}
    assert seen == lazy
    assert set(gossamer.__all__) == {name for name, _ in lazy} | {"__version__"}
    assert gossamer.__all__ == sorted(gossamer.__all__)
