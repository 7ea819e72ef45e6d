"""A recipe as YAML again: the resolved recipe that stands in a run's folder, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import yaml

from gossamer.recipes.document import Plain
from gossamer.recipes.schema import Recipe

WITHOUT_EFFECT = ("description", "threads", "workers")
"""Keys that may differ when a run is resumed. (Another thread count changes the order of sums: correct, but not bit-equal. Workers share
the threads.)"""


def plain(recipe: Recipe) -> dict[str, Plain]:
    """Plain values with the keys of the YAML file."""
    values = asdict(recipe)
    values["method"] = {"name": recipe.method.name, **recipe.method.settings}
    simple: dict[str, Plain] = _simple(values)  # type: ignore[assignment]
    return simple


def to_yaml(recipe: Recipe) -> str:
    """The whole recipe with all defaults written out."""
    text: str = yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True, width=100)
    return text


def differences(mine: Mapping[str, Plain], other: Mapping[str, Plain], prefix: str = "") -> list[str]:
    """Sentences such as `train.epochs: 9 here, 12 there`, for all keys that have an effect.

    >>> differences({"train": {"epochs": 9}, "threads": 1}, {"train": {"epochs": 12}, "threads": 2})
    ['train.epochs: 9 here, 12 there']
    """
    found: list[str] = []
    for key in dict.fromkeys([*mine, *other]):
        if not prefix and key in WITHOUT_EFFECT:
            continue
        here, there = mine.get(key), other.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            found += differences(here, there, f"{prefix}{key}.")
        elif here != there:
            found.append(f"{prefix}{key}: {here!r} here, {there!r} there")
    return found


def _simple(value: object) -> Plain:
    if isinstance(value, Mapping):
        return {str(key): _simple(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
