"""A YAML document that remembers the line of every key, and the overrides `key=value` on top of it.

A path is a tuple of keys, `("train", "epochs")`; people read it as `train.epochs`. Where a value comes from (`file.yaml:12`, or the
override itself) is kept beside it, so that every later complaint can point there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from gossamer.errors import RecipeError

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Address: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """Plain values and where each came from. `name` is the file's name for messages."""

    name: str
    values: dict[str, Plain]
    places: Mapping[Address, str] = field(default_factory=dict)

    def place(self, address: Address) -> str:
        """Where the value at this address, or the nearest one around it, was written."""
        for length in range(len(address), -1, -1):
            if address[:length] in self.places:
                return self.places[address[:length]]
            below = [place for known, place in self.places.items() if known[:length] == address[:length]]
            if length and below:
                return below[0]
        return self.name

    def error(self, address: Address, message: str) -> RecipeError:
        """An error that points to the address."""
        dotted = ".".join(address)
        return RecipeError(f"{self.place(address)}: {dotted + ': ' if dotted else ''}{message}")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values: `2:4` is a text (YAML 1.1 reads 124), `no` is a text, `1e-3` is a number."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def parse(text: str, *, name: str) -> Document:
    """Read a YAML text whose root is a mapping with text keys.

    >>> parse("train: {epochs: 3}", name="a.yaml").place(("train", "epochs"))
    'a.yaml:1'
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{name}{line}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}: not valid YAML: {error}") from None
    if root is None:
        raise RecipeError(f"{name}: the file is empty; expected a recipe. See: gossamer recipes list")
    if not isinstance(root, yaml.MappingNode):
        raise RecipeError(
            f"{name}:{root.start_mark.line + 1}: expected `key: value` lines at the outermost level"
        )
    places: dict[Address, str] = {}
    values = _Builder(name, places).mapping(root, ())
    return Document(name=name, values=values, places=places)


def read(path: Path) -> Document:
    """Read a recipe file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: expected UTF-8 text") from None
    return parse(text, name=str(path))


def with_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """The document with `train.epochs=3`-like settings on top; values are read as YAML.

    >>> with_overrides(parse("train: {epochs: 3}", name="a.yaml"), ["train.epochs=5"]).values
    {'train': {'epochs': 5}}
    """
    values = _copied(document.values)
    places = dict(document.places)
    for override in overrides:
        key, equals, text = override.partition("=")
        address = tuple(key.strip().split("."))
        if not equals or not all(address):
            raise RecipeError(f"override {override!r}: expected key=value, such as train.epochs=3")
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError:
            raise RecipeError(f"override {override!r}: {text!r} is not a valid YAML value") from None
        _set(values, address, value, override)
        places = {known: place for known, place in places.items() if known[: len(address)] != address}
        places[address] = f"override {override!r}"
    return Document(name=document.name, values=values, places=places)


def _set(values: dict[str, Plain], address: Address, value: Plain, override: str) -> None:
    target = values
    for depth, key in enumerate(address[:-1]):
        inner = target.setdefault(key, {})
        if inner is None:
            inner = target[key] = {}
        if not isinstance(inner, dict):
            where = ".".join(address[: depth + 1])
            raise RecipeError(
                f"override {override!r}: {where} is a single value ({inner!r}), it has no keys below"
            )
        target = inner
    target[address[-1]] = value


def _copied(values: dict[str, Plain]) -> dict[str, Plain]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in values.items()}


class _Builder:
    """Builds plain values from YAML nodes and notes the lines."""

    def __init__(self, name: str, places: dict[Address, str]) -> None:
        self._name = name
        self._places = places
        self._scalars = _Loader("")
        self._seen: set[int] = set()

    def _enter(self, node: yaml.Node) -> None:
        """Recipes are trees: a part that is used twice by an anchor would have no line of its own."""
        if id(node) in self._seen:
            raise RecipeError(
                f"{self._name}:{node.start_mark.line + 1}: anchors are not supported; write the part again"
            )
        self._seen.add(id(node))

    def mapping(self, node: yaml.MappingNode, address: Address) -> dict[str, Plain]:
        values: dict[str, Plain] = {}
        self._enter(node)
        for key_node, value_node in node.value:
            place = f"{self._name}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"{place}: expected a plain word as key")
            key = str(key_node.value)
            if key in values:
                first = self._places[(*address, key)]
                raise RecipeError(f"{place}: the key {key!r} is given twice (first at {first}); remove one")
            self._places[(*address, key)] = place
            values[key] = self.value(value_node, (*address, key))
        return values

    def value(self, node: yaml.Node, address: Address) -> Plain:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, address)
        if isinstance(node, yaml.SequenceNode):
            self._enter(node)
            items: list[Plain] = []
            for number, item in enumerate(node.value):
                inner = (*address, str(number))
                self._places[inner] = f"{self._name}:{item.start_mark.line + 1}"
                items.append(self.value(item, inner))
            return items
        try:
            result: Plain = self._scalars.construct_object(node)
        except yaml.YAMLError as error:
            raise RecipeError(f"{self._name}:{node.start_mark.line + 1}: {error}") from None
        return result if isinstance(result, None | bool | int | float | str) else str(result)
