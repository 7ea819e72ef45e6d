"""A packed file as rows for people: what `gossamer inspect` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import GossamerError

if TYPE_CHECKING:
    from gossamer.runtime import Session


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer of the plan, joined with the storage of its weight matrix."""

    name: str
    op: str
    format: str
    shape: tuple[int, ...]
    num_kept: int
    num_weights: int
    bytes_stored: int
    bytes_in_memory: int
    kernel: str
    reason: str

    def cells(self) -> list[str]:
        """Texts of the table."""
        dash = "–"
        return [
            self.name,
            self.op,
            self.format or dash,
            "x".join(map(str, self.shape)) or dash,
            f"{self.num_kept:,}" if self.num_weights else dash,
            f"{self.num_weights:,}" if self.num_weights else dash,
            f"{self.num_kept / self.num_weights:.1%}" if self.num_weights else dash,
            f"{self.bytes_stored:,}" if self.bytes_stored else dash,
            f"{self.bytes_in_memory:,}" if self.bytes_in_memory else dash,
            self.kernel or dash,
            self.reason,
        ]


@dataclass(frozen=True, kw_only=True)
class Description:
    """The whole file."""

    file: str
    size: int
    network: str
    inputs: dict[str, list[int | str]]
    outputs: list[str]
    facts: dict[str, Any]
    rows: list[LayerRow]

    @property
    def num_kept(self) -> int:
        return sum(row.num_kept for row in self.rows)

    @property
    def num_weights(self) -> int:
        return sum(row.num_weights for row in self.rows)

    def lines(self) -> list[str]:
        """The head of what is printed."""
        inputs = ", ".join(f"{name} [{'x'.join(map(str, shape))}]" for name, shape in self.inputs.items())
        dense = 4 * self.num_weights
        lines = [
            f"{self.file}: {self.network}, {self.size:,} bytes on disk"
            + (
                f", {dense / self.size:.1f} times smaller than the dense float32 weights"
                if dense > self.size
                else ""
            ),
            f"inputs: {inputs}; outputs: {', '.join(self.outputs)}",
        ]
        if self.num_weights:
            share = 1 - self.num_kept / self.num_weights
            lines.append(f"weights stored: {self.num_kept:,} of {self.num_weights:,} ({share:.2%} absent)")
        return lines + [f"{key}: {value}" for key, value in self.facts.items()]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {**asdict(self), "num_kept": self.num_kept, "num_weights": self.num_weights}


def open_session(path: Path, *, threads: int, tune: bool = False, pin: bool = False) -> Session:
    """Load a packed file; errors name the file."""
    from gossamer.runtime import load

    try:
        return load(path, threads=threads, tune=tune, pin=pin)
    except GossamerError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from None


def describe(path: Path, *, threads: int, tune: bool = False) -> Description:
    """Read, check and plan a packed file."""
    session = open_session(path, threads=threads, tune=tune)
    remarks: list[str] = session.describe()["remarks"]
    manifest: Mapping[str, Any] = session.manifest
    weights: Mapping[str, Any] = manifest["weights"]
    nodes = {node["name"]: node for node in manifest["network"]["nodes"]}
    sizes = _tensor_sizes(path)
    rows = [
        _row(dict(layer), nodes.get(str(layer["name"]), {}), weights, sizes) for layer in session.layers()
    ]
    return Description(
        file=str(path),
        size=path.stat().st_size,
        network=manifest["network"]["name"],
        inputs={item["name"]: list(item["shape"]) for item in manifest["network"]["inputs"]},
        outputs=[item["name"] for item in manifest["network"]["outputs"]],
        facts={**_facts(manifest), **({"note": "; ".join(remarks)} if remarks else {})},
        rows=rows,
    )


def _tensor_sizes(path: Path) -> dict[str, int]:
    """Bytes of every tensor, from the header of a file that has been checked."""
    with path.open("rb") as file:
        header: Mapping[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {
        name: entry["data_offsets"][1] - entry["data_offsets"][0]
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _row(
    layer: Mapping[str, Any], node: Mapping[str, Any], weights: Mapping[str, Any], sizes: Mapping[str, int]
) -> LayerRow:
    keys = node.get("weights", {})
    stored = weights.get(keys.get("weight", ""), {})
    parts = [part for key in keys.values() for part in weights.get(key, {}).get("parts", {}).values()]
    parameters = ",".join(f"{key}={value}" for key, value in stored.get("parameters", {}).items())
    kind = f"{stored['format']}{f'({parameters})' if parameters else ''} {stored['dtype']}" if stored else ""
    return LayerRow(
        name=str(layer["name"]),
        op=str(layer["op"]),
        format=kind,
        shape=tuple(stored.get("shape", ())),
        num_kept=int(layer["num_kept"]),
        num_weights=int(layer["num_weights"]),
        bytes_stored=sum(sizes[part["tensor"]] for part in parts),
        bytes_in_memory=int(layer["bytes"]),
        kernel=str(layer["kernel"]),
        reason=str(layer["reason"]),
    )


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Optional parts of the manifest, in one line each."""
    facts: dict[str, Any] = {"format version": manifest["format_version"], "written by": manifest["library"]}
    if labels := manifest.get("labels"):
        facts["labels"] = ", ".join(labels[:10]) + (
            f" and {len(labels) - 10} more" if len(labels) > 10 else ""
        )
    if recipe := manifest.get("recipe"):
        facts["recipe"] = recipe.get("name", "without a name")
    for key in ("metrics", "verification"):
        if values := manifest.get(key):
            facts[key] = ", ".join(
                f"{name} {format(value, '.4g') if isinstance(value, float) else value}"
                for name, value in values.items()
                if not isinstance(value, dict | list)
            )
    if licence := manifest.get("license"):
        facts["license"] = licence
    return facts
