"""The page docs/reference/cli.md, generated from `--help`.

`python -m gossamer.cli.reference > docs/reference/cli.md` writes it again; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import typer

from gossamer.cli.app import app

_HEAD = """\
# Command line

Generated from `--help`; write it again with `python -m gossamer.cli.reference > docs/reference/cli.md`.

Every command that measures or makes something takes `--json`: one JSON object on standard output, text for people on standard
error. Exit codes: 0 done, 2 wrong use or wrong input (one line `error: …`), 130 interrupted (state saved).
"""


def page() -> str:
    """The Markdown text."""
    root = cast("typer.core.TyperGroup", typer.main.get_command(app))
    parts = [f"## `{path}`\n\n```text\n{text.rstrip()}\n```\n" for path, text in _helps(root, "gossamer")]
    return "\n".join([_HEAD, *parts])


def _helps(command: typer.core.TyperCommand | typer.core.TyperGroup, path: str) -> Iterator[tuple[str, str]]:
    context = command.make_context(
        path, [], resilient_parsing=True, terminal_width=100, max_content_width=100
    )
    yield path, command.get_help(context)
    if isinstance(command, typer.core.TyperGroup):
        for name, inner in command.commands.items():
            yield from _helps(inner, f"{path} {name}")  # type: ignore[arg-type]


if __name__ == "__main__":
    print(page(), end="")
