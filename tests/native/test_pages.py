"""The native reader decodes the bytes that stand in the pages of docs/formats."""

import doctest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gossamer import formats
from gossamer.formats import FORMATS, PackedMatrix, packed_file
from gossamer.graph import Input, Manifest, Network, Node, Output

_native = pytest.importorskip("gossamer._native")
pytestmark = pytest.mark.native

PAGES = Path(__file__).parents[2] / "docs" / "formats"


def examples(name: str) -> list[tuple[np.ndarray, PackedMatrix]]:
    """Of every example of a page: the matrix, and what the page says its bytes are."""
    page = PAGES / f"{name.replace('_', '-')}.md"
    text = page.read_text().replace("\n```\n", "\n\n")
    calls: list[tuple[np.ndarray, PackedMatrix]] = []

    def pack(values: np.ndarray, mask: np.ndarray | None, **arguments: Any) -> PackedMatrix:
        calls.append((np.array(values, np.float32), formats.pack(values, mask, **arguments)))
        return calls[-1][1]

    space: dict[str, Any] = {}
    found = []
    for example in doctest.DocTestParser().get_examples(text, page.name):
        source = example.source.replace("from gossamer import formats", "")
        if not example.want:
            exec(source, space)
            space["formats"] = SimpleNamespace(pack=pack)
            continue
        exec(source, space)
        matrix, packed = calls[-1]
        printed = dict(line.split(" ", 1) for line in example.want.splitlines())
        parts = {
            part: np.frombuffer(bytes.fromhex(printed[part]), array.dtype).reshape(array.shape)
            for part, array in packed.parts.items()
        }
        found.append(
            (
                matrix,
                PackedMatrix(
                    format=packed.format,
                    shape=packed.shape,
                    dtype=packed.dtype,
                    parameters=packed.parameters,
                    parts=parts,
                ),
            )
        )
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_of_the_page_are_the_matrix(name: str, tmp_path: Path) -> None:
    found = examples(name)
    assert found
    for matrix, packed in found:
        rows, columns = matrix.shape
        network = Network(
            name="page",
            inputs=(Input(name="x", shape=(columns, columns)),),
            outputs=(Output(name="y", value="y"),),
            nodes=(Node(op="linear", name="fc", inputs=("x",), outputs=("y",), weights={"weight": "w"}),),
        )
        path = tmp_path / "page.safetensors"
        path.write_bytes(packed_file.to_bytes(Manifest(network=network), {"w": packed}))
        session = _native.Session(_native.File(str(path)))
        (y,) = session.run([np.eye(columns, dtype=np.float32)], columns)
        assert y.shape == (columns, rows)
        np.testing.assert_array_equal(y.T, matrix)
