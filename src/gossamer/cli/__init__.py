"""The command line: one file a subcommand; each parses, calls the library and prints.

`main` is the console script. Nothing heavy is imported here: `gossamer --help` loads no torch.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script `gossamer`."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        print(
            f"error: the command line needs {error.name}; install it with: pip install 'gossamer[cli]'\n"
            f"(without it: python -m gossamer.runtime FILE IN.npy OUT.npy)",
            file=sys.stderr,
        )
        sys.exit(2)
    from gossamer.cli.app import run

    sys.exit(run(sys.argv[1:]))
