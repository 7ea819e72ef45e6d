"""The shipped recipes, and how `NAME` or `FILE` on a command line becomes a document."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path

from gossamer.errors import RecipeError
from gossamer.recipes.document import Document, parse, read

_SUFFIXES = (".yaml", ".yml")


def names() -> list[str]:
    """Names of all shipped recipes, sorted.

    >>> "fashion-mnist-resnet20-dense" in names()
    True
    """
    folder = files(__package__) / "shipped"
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".yaml"))


def text_of(name: str) -> str:
    """The YAML text of a shipped recipe."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(names())}"
        raise RecipeError(f"unknown recipe {name!r}; {hint} (or give a .yaml file)")
    return (files(__package__) / "shipped" / f"{name}.yaml").read_text(encoding="utf-8")


def document_of(name_or_file: str) -> Document:
    """The document of a shipped name or of a file; whatever looks like a file is one."""
    if name_or_file.endswith(_SUFFIXES) or "/" in name_or_file:
        return read(Path(name_or_file))
    return parse(text_of(name_or_file), name=f"{name_or_file}.yaml")
