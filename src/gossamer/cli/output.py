"""What a command prints: text for people, or one JSON object for programs.

With `--json`, standard output carries exactly one JSON object and everything else goes to standard error, also what a user's
model or another library prints.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; text goes to stderr.")]


class Output:
    """Where this command prints."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._stdout = sys.stdout
        if as_json:  # until the result: a model that prints must not break the one JSON object
            sys.stdout = sys.stderr
        self._console = Console(
            file=sys.stderr if as_json else sys.stdout, highlight=False, markup=False, soft_wrap=True
        )

    def say(self, line: str) -> None:
        """A line for people."""
        self._console.print(line)

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
    ) -> None:
        """A table for people; columns named in `right` are aligned to the right."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in header:
            table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        if self._console.is_terminal:
            self._console.print(table)
        else:  # without a terminal nothing is cut off at 80 columns
            wide = Console(file=self._console.file, width=400, highlight=False, markup=False)
            wide.print(table)

    def result(self, value: Mapping[str, object]) -> None:
        """The JSON object, if one is wanted."""
        if self.as_json:
            sys.stdout = self._stdout
            print(json.dumps(value, default=str))
