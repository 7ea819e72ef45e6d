"""Random weights and nodes for the base files of the fuzz test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gossamer import formats
from gossamer.graph import Node

# Format, its parameters, rows and columns of a matrix that it can store.
MATRICES: list[tuple[str, dict[str, int], int, int]] = [
    ("dense", {}, 3, 5),
    ("unstructured", {}, 5, 7),
    ("unstructured", {}, 40, 90),  # gaps above 254
    ("unstructured", {}, 1, 1),
    ("block", {"rows": 4, "columns": 1}, 8, 6),
    ("block", {"rows": 2, "columns": 3}, 6, 9),
    ("n_of_m", {"n": 2, "m": 4}, 3, 12),
    ("n_of_m", {"n": 1, "m": 5}, 4, 10),
    ("gather_scatter", {"banks": 4, "per_row": 4}, 3, 12),
    ("gather_scatter", {"banks": 4, "per_row": 1}, 8, 12),
    ("gather_scatter", {"banks": 8, "per_row": 2}, 8, 24),
    ("gather_scatter", {"banks": 2, "per_row": 2}, 2, 2),  # columns of 0 bits
    ("window", {"width": 8}, 16, 24),
]


def mask_for(
    name: str, parameters: Mapping[str, int], rows: int, columns: int, rng: np.random.Generator
) -> Any:
    """A random legal mask, bool [rows, columns], of about a third of the entries."""
    mask = np.zeros((rows, columns), dtype=np.bool_)
    if name == "dense":
        mask[:] = True
    elif name == "unstructured":
        mask[:] = rng.random((rows, columns)) < (0.3 if rows < 20 else 0.004)
    elif name == "block":
        r, c = parameters["rows"], parameters["columns"]
        mask[:] = np.kron(rng.random((rows // r, columns // c)) < 0.4, np.ones((r, c))) > 0
    elif name == "n_of_m":
        n, m = parameters["n"], parameters["m"]
        order = np.argsort(rng.random((rows, columns // m, m)), axis=-1)
        mask[:] = (order < n).reshape(rows, columns)
    elif name == "gather_scatter":
        banks, per_row = parameters["banks"], parameters["per_row"]
        height = banks // per_row
        for top in range(0, rows, height):
            for bundle in range(int(rng.integers(0, max(2, columns // banks)))):
                residues = rng.permutation(banks)
                for lane in range(banks):  # bundle t takes block t of the columns: no entry occurs twice
                    mask[top + lane // per_row, bundle * banks + residues[lane]] = True
    else:
        for slot_row in range(0, rows, 8):
            for window in range(0, columns, 8):
                if rng.random() < 0.5:
                    mask[slot_row + np.arange(8), window + rng.integers(0, 8, 8)] = True
    return mask


def matrix(
    name: str, parameters: Mapping[str, int], rows: int, columns: int, dtype: str, rng: np.random.Generator
) -> Any:
    """A random weight in a format."""
    values = rng.normal(size=(rows, columns)).astype(np.float32)
    return formats.pack(
        values, mask_for(name, parameters, rows, columns, rng), format=name, dtype=dtype, **parameters
    )


def vector(size: int, rng: np.random.Generator) -> Any:
    return rng.normal(size=size).astype(np.float32)


def node(
    op: str, inputs: str, result: str, weights: dict[str, str] | None = None, /, **attributes: Any
) -> Node:
    return Node(
        op=op,
        name=f"{op}_{result.split()[0]}",
        inputs=tuple(inputs.split()),
        outputs=tuple(result.split()),
        attributes=attributes,
        weights=weights or {},
    )
