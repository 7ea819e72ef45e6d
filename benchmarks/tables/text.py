"""Stored results, and figures as text: what all tables share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"

Result = dict[str, Any]


def read(name: str) -> Result | None:
    """A stored result; None where nobody has measured it."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Markdown; the first column to the left, the others to the right.

    >>> print(table(["a", "n"], [["x", 1]]))
    | a | n |
    | --- | --: |
    | x | 1 |
    """
    lines = ["| " + " | ".join(header) + " |", "| --- " + "| --: " * (len(header) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def provenance(result: Result, what: str = "") -> str:
    """Where the figures come from, in one paragraph."""
    machine, versions = result["machine"], result["machine"]["versions"]
    named = ", ".join(
        f"{name} {versions[name]}" for name in ("torch", "onnxruntime", "openvino") if name in versions
    )
    features = f" with {', '.join(machine['features'])}" if machine.get("features") else ""
    return f"`{result['command']}`, {machine['cpu']} ({machine['isa']}{features}), {named}, {result['date']}. {what}".strip()


def milliseconds(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else f"{value:.3g}"


def times(ratio: float | None) -> str:
    """A ratio."""
    return "–" if ratio is None else f"{ratio:.2f}x"


def whole(value: float | None) -> str:
    """A number without its fraction."""
    return "–" if value is None else f"{value:.0f}"
