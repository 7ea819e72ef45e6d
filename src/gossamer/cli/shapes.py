"""Shapes on the command line."""

from __future__ import annotations

from gossamer.errors import RecipeError


def parse_shape(text: str) -> tuple[int, ...]:
    """`1x3x224x224` -> (1, 3, 224, 224).

    >>> parse_shape("1x784")
    (1, 784)
    """
    parts = text.lower().replace(",", "x").split("x")
    if not parts or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise RecipeError(f"--input: expected a shape with the batch first, such as 1x3x224x224, got {text!r}")
    return tuple(int(part) for part in parts)
