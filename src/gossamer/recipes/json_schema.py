"""The JSON schema of recipes, generated from the dataclasses; `schema.json` beside this file is a copy for editors.

`python -m gossamer.recipes.json_schema` writes the copy again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from gossamer.recipes.schema import Recipe
from gossamer.recipes.validate import DENSE, counts_steps
from gossamer.training.methods import METHODS

PUBLISHED = Path(__file__).parent / "schema.json"

_MOMENT = {
    "type": "string",
    "pattern": r"^\s*\d+(\.\d+)?\s*(%|epochs?)\s*$",
    "description": "a part of all steps (60%) or a number of epochs (3 epochs)",
}


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a recipe file."""
    document = TypeAdapter(Recipe).json_schema()
    definitions: dict[str, Any] = document["$defs"]
    del definitions["MethodChoice"]
    choices: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {"name": {"const": DENSE}},
            "required": ["name"],
            "additionalProperties": False,
        }
    ]
    for name, kind in METHODS.items():
        choice = TypeAdapter(kind).json_schema()
        definitions.update(choice.pop("$defs", {}))
        hints = get_type_hints(kind, include_extras=True)
        properties = {
            key: {"anyOf": [value, _MOMENT]} if counts_steps(hints[key]) else value
            for key, value in choice["properties"].items()
        }
        choice["properties"] = {"name": {"const": name}, **properties}
        choice["required"] = ["name", *choice.get("required", [])]
        choices.append(choice)
    document["properties"]["method"] = {"anyOf": [{"const": DENSE}, *choices]}
    for definition in [document, *definitions.values(), *choices]:
        if definition.get("type") == "object" and "properties" in definition:
            definition["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document, "title": "Gossamer recipe"}


def text() -> str:
    """The schema as the text of the published file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PUBLISHED.write_text(text(), encoding="utf-8")
