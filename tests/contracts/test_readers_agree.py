"""The native and the NumPy reader on one table: same files accepted, same weights decoded, same files refused.

The long run is scripts/fuzz.py under sanitizers (`make sanitize`); its base files and mutations are used here too.
"""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from gossamer import formats
from gossamer.errors import FormatError, GraphError
from gossamer.formats import packed_file
from gossamer.graph import Input, Manifest, Network, Node, Output

_native = pytest.importorskip("gossamer._native")
pytestmark = pytest.mark.native

SCRIPTS = Path(__file__).parents[2] / "scripts"

# Format, parameters, shape: odd sizes, one row, one column, one block, gaps beyond one byte.
MATRICES = [
    ("dense", {}, (1, 1)),
    ("dense", {}, (3, 5)),
    ("unstructured", {}, (1, 1)),
    ("unstructured", {}, (7, 1)),
    ("unstructured", {}, (1, 1021)),
    ("unstructured", {}, (33, 65)),
    ("block", {"rows": 1, "columns": 2}, (3, 4)),
    ("block", {"rows": 4, "columns": 1}, (4, 37)),
    ("block", {"rows": 3, "columns": 5}, (9, 25)),
    ("block", {"rows": 64, "columns": 64}, (64, 64)),
    ("n_of_m", {"n": 2, "m": 4}, (5, 12)),
    ("n_of_m", {"n": 1, "m": 2}, (1, 2)),
    ("n_of_m", {"n": 7, "m": 7}, (3, 7)),
    ("n_of_m", {"n": 3, "m": 256}, (2, 512)),
    ("gather_scatter", {"banks": 2, "per_row": 1}, (2, 2)),
    ("gather_scatter", {"banks": 4, "per_row": 2}, (6, 20)),
    ("gather_scatter", {"banks": 8, "per_row": 8}, (3, 24)),
    ("gather_scatter", {"banks": 8, "per_row": 1}, (16, 72)),
    ("gather_scatter", {"banks": 64, "per_row": 64}, (1, 64)),
    ("window", {"width": 8}, (8, 8)),
    ("window", {"width": 8}, (16, 2056)),
]


@pytest.fixture(scope="module")
def fuzzing():
    """The modules of the fuzz script."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import fuzz_bases
        import fuzz_mutations
    finally:
        sys.path.remove(str(SCRIPTS))
    return fuzz_bases, fuzz_mutations


def test_every_format_is_among_the_matrices():
    assert {name for name, _, _ in MATRICES} == set(formats.FORMATS)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("name", "parameters", "shape"), MATRICES)
def test_every_format_decodes_to_the_same_matrix(fuzzing, name, parameters, shape, dtype):
    packed = fuzzing[0].matrix(name, parameters, *shape, dtype, np.random.default_rng(sum(shape)))
    network = Network(
        name="one",
        inputs=(Input(name="x", shape=(shape[1], shape[1])),),
        outputs=(Output(name="y", value="y"),),
        nodes=(Node(op="linear", name="fc", inputs=("x",), outputs=("y",), weights={"weight": "w"}),),
    )
    raw = packed_file.to_bytes(Manifest(network=network), {"w": packed})
    session = _native.Session(_native.File(raw))
    (y,) = session.run([np.eye(shape[1], dtype=np.float32)], 1)  # x is the unit matrix: y is the weight
    np.testing.assert_array_equal(y.T, formats.unpack(packed)[0])


def verdict(read, raw: bytes) -> str:
    try:
        read(raw)
    except (FormatError, GraphError):
        return "reject"
    except _native.Error as error:
        named = error.kind in (_native.KINDS["format"], _native.KINDS["graph"])
        return "reject" if named else f"another error: {error}"
    return "accept"


def test_mutated_files_get_the_same_verdict(fuzzing):
    bases, mutations = fuzzing
    files = bases.bases()
    accepted = 0
    for index in range(1500):
        rng = random.Random(f"contracts:{index}")
        raw = mutations.mutate(rng.choice(files), rng)
        mine, other = verdict(packed_file.read, raw), verdict(_native.File, raw)
        assert mine == other, f"file {index}: the NumPy reader says {mine}, the native one {other}"
        accepted += mine == "accept"
    assert 150 < accepted < 750  # the mutations neither break everything nor nothing


def test_every_truncation_is_refused_by_both(fuzzing):
    raw = fuzzing[0].bases()[0]
    for size in range(len(raw)):
        assert verdict(packed_file.read, raw[:size]) == verdict(_native.File, raw[:size]) == "reject", size
