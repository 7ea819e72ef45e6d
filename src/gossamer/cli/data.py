"""gossamer data list / get / path"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gossamer.cli.output import Json, Output

app = typer.Typer(help="List, fetch and find data sets.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a data set (gossamer data list).")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the data sets that can be fetched.

    \b
    Example:
      gossamer data list
    """
    from gossamer.tasks import store

    output = Output(json)
    rows = [
        {
            "name": item.name,
            "present": store.is_present(item.name),
            "bytes": sum(file.size for file in item.files),
            "licence": item.licence,
            "summary": item.summary,
            "folder": str(store.folder_of(item.name)),
        }
        for item in store.DATA_SETS.values()
    ]
    output.table(
        ["name", "fetched", "size", "licence", "content"],
        [
            [
                str(row["name"]),
                "yes" if row["present"] else "no",
                f"{int(str(row['bytes'])) / 2**20:.0f} MiB",
                str(row["licence"]),
                str(row["summary"]),
            ]
            for row in rows
        ],
    )
    output.result({"data_sets": rows})


@app.command("get")
def get(
    name: Name,
    source: Annotated[
        Path | None, typer.Option("--from", help="Take the files from this folder instead of fetching them.")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a data set into the cache and verify it.

    Tried in order: a folder of the system, a Debian package (downloaded and unpacked, nothing is installed, no root needed),
    the public address. The cache is $GOSSAMER_CACHE, otherwise ~/.cache/gossamer.

    \b
    Examples:
      gossamer data get fashion-mnist
      gossamer data get fashion-mnist --from Downloads/fashion
    """
    from gossamer.tasks import store

    output = Output(json)
    wanted = store.data_set(name)
    folder = store.get(name, output.say) if source is None else store.get_from(name, source)
    output.say(f"{name} is in {folder}, all {len(wanted.files)} files verified by SHA-256")
    output.say(f"licence: {wanted.licence}")
    output.result({"name": name, "folder": str(folder), "licence": wanted.licence})


@app.command("path")
def path(name: Name, json: Json = False) -> None:
    """Print the folder of a fetched data set; an error where it has not been fetched.

    \b
    Example:
      ls $(gossamer data path fashion-mnist)
    """
    from gossamer.errors import DataError
    from gossamer.tasks import store

    folder = store.folder_of(name)
    if not store.is_present(name):
        raise DataError(f"{name} has not been fetched into {folder}; fetch it with: gossamer data get {name}")
    output = Output(json)
    output.say(str(folder))
    output.result({"name": name, "folder": str(folder)})
