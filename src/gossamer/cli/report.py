"""gossamer report"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer

from gossamer.cli.output import Json, Output
from gossamer.errors import GossamerError


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Folders of runs, and JSON files of gossamer bench --json."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
    json: Json = False,
) -> None:
    """Write one self-contained HTML page: training curves and costs of runs, and what benchmarks measured.

    \b
    Examples:
      gossamer report runs/fashion-mnist-resnet20-gradual -o report.html
      gossamer report runs/dense runs/sparse bench.json -o report.html
    """
    from gossamer.recipes.run_folder import RunFolder
    from gossamer.report import Page, sections
    from gossamer.report.costs import costs

    runs: dict[str, list[dict[str, object]]] = {}
    measured: list[dict[str, object]] = []
    finished: dict[str, dict[str, object]] = {}
    labels = short_names([source for source in sources if source.is_dir()])
    for source in sources:
        if source.is_dir():
            folder = RunFolder(path=source)
            rows = folder.rows()
            runs |= by_worker(labels[source], rows)
            if folder.is_finished and "cost" in (result := folder.read_result()):
                finished[labels[source]] = result
            if not rows:
                raise GossamerError(
                    f"{source}: expected the folder of a run with a metrics.jsonl that is not empty"
                )
        else:
            measured += read_bench(source)
    found = [sections.engines(bench) for bench in measured]
    if runs:
        found.append(sections.training(runs))
    found += [costs(name, result) for name, result in finished.items()]
    details = (sections.density, sections.layers, sections.machine)
    found += [make(bench) for bench in measured for make in details]
    Page(title="Gossamer report", lead=", ".join(map(str, sources)), sections=tuple(found)).write(out)
    output = Output(json)
    output.say(f"wrote {out}")
    output.result({"report": str(out)})


def short_names(paths: Iterable[Path]) -> dict[Path, str]:
    """For every path its shortest end that no other of them has; one folder under two names is one.

    >>> list(short_names([Path("/a/x/run"), Path("/a/y/run"), Path("/a/y/other")]).values())
    ['x/run', 'y/run', 'other']
    """
    parts = {path: path.resolve().parts for path in paths}
    names: dict[Path, str] = {}
    for path, own in parts.items():
        others = {other for other in parts.values() if other != own}
        ends = (length for length in range(1, len(own)) if all(o[-length:] != own[-length:] for o in others))
        names[path] = "/".join(own[-next(ends, len(own)) :])
    return names


def by_worker(label: str, rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The lines of a run, and beside them those of each of its workers, where it had some.

    >>> list(by_worker("run", [{"step": 1, "worker": 0}, {"step": 1, "worker": 1}, {"step": 2}]))
    ['run', 'run, worker 0', 'run, worker 1']
    """
    found: dict[str, list[dict[str, Any]]] = {label: []}
    for row in rows:
        name = f"{label}, worker {row['worker']}" if "worker" in row else label
        found.setdefault(name, []).append(row)
    return found


def read_bench(path: Path) -> list[dict[str, object]]:
    """What `gossamer bench --json` has printed into a file: one result, or several."""
    try:
        measured = loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GossamerError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise GossamerError(f"{path}: expected JSON of gossamer bench --json: {error}") from None
    several = measured.get("results") if isinstance(measured, dict) else None
    found = several if isinstance(several, list) and several else [measured]
    for item in found:
        missing = [
            key for key in ("engines", "layers", "machine") if not isinstance(item, dict) or key not in item
        ]
        if missing:
            raise GossamerError(
                f"{path}: expected JSON of gossamer bench --json, it lacks {', '.join(missing)}"
            )
    return [dict(item) for item in found]
