"""States, a free length and integers through both engines: runs in pieces equal one long run."""

import numpy as np
import pytest

from gossamer.errors import RuntimeFailure
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output
from gossamer.kernels import native
from gossamer.runtime import load
from tests.runtime.networks import HIDDEN, TOKENS, language_model

ENGINES = ["reference", pytest.param("native", marks=pytest.mark.native)]


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    if request.param == "native" and not native.status().available:
        pytest.skip(native.status().reason)
    return request.param


def tokens(batch: int, length: int) -> np.ndarray:
    return np.random.default_rng(batch + length).integers(0, TOKENS, (batch, length))


def test_pieces_equal_the_whole(engine: str):
    session, x = load(language_model(), engine=engine), tokens(2, 6)
    whole = session.run(x)["scores"]
    session.reset()
    pieces = [session.run({"tokens": part})["scores"] for part in (x[:, :1], x[:, 1:4], x[:, 4:])]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-6, atol=1e-6)
    again = session.run(x)["scores"]  # goes on from the pieces' end
    assert not np.allclose(again, whole)


def test_given_states_replace_kept_ones(engine: str):
    session, plain, x = (
        load(language_model(), engine=engine),
        load(language_model(False), engine=engine),
        tokens(2, 3),
    )
    zero = np.zeros((2, HIDDEN), np.float32)
    first = session.run(x)
    given = session.run({"tokens": x, "h": first["h_next"], "c": zero})
    want = plain.run({"tokens": x, "h": first["h_next"], "c": zero})
    for name, value in want.items():
        np.testing.assert_array_equal(given[name], value)


def test_another_batch_needs_a_reset(engine: str):
    session = load(language_model(), engine=engine)
    session.run(tokens(2, 3))
    with pytest.raises(RuntimeFailure, match=r"batch (of )?2 .* got 3"):
        session.run(tokens(3, 3))
    session.reset()
    session.run(tokens(3, 3))


REFUSED = {
    "length": (tokens(2, 7), "s from 1 to 6, got 7"),
    "no length": (np.zeros((2, 0), np.int64), "s from 1 to 6, got 0"),
    "batch": (tokens(5, 2), "n from 1 to 4, got 5"),
    "dtype": (tokens(2, 2).astype(np.int32), r"expected int64, got int32; convert it with x.astype\(numpy.int64\)"),
    "too large": (np.full((1, 1), 2**24 + 1), r"at most 2\^24.*, got 16777217"),
    "too small": (np.full((1, 1), -(2**63)), r"at most 2\^24.*, got -9223372036854775808"),
    "unknown word": (np.full((1, 1), TOKENS), "whole numbers from 0 to 10, got 11.0"),
    "several": ({"tokens": tokens(2, 2), "h": np.zeros((3, HIDDEN), np.float32)}, "n = 2 like 'tokens', got 3"),
    "stranger": ({"tokens": tokens(2, 2), "z": tokens(2, 2)}, r"the names \['tokens'\] \(and perhaps the states \['c', 'h'\]\)"),
    "missing": ({"h": np.zeros((3, HIDDEN), np.float32)}, "expected the names"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(engine: str, case: str):
    given, sentence = REFUSED[case]
    with pytest.raises(RuntimeFailure, match=sentence):
        load(language_model(), engine=engine).run(given)


def test_max_batch_bounds_the_batch_alone(engine: str):
    session = load(language_model(), engine=engine, max_batch=2)
    assert session.run(tokens(2, 6))["scores"].shape == (2, 6, TOKENS)
    with pytest.raises(RuntimeFailure, match="max_batch=2"):
        session.run(tokens(3, 1))


def one(nodes: tuple[Node, ...], most: int) -> bytes:
    network = Network(
        name="one",
        dims={"s": FreeDim(min=2, max=most)},
        inputs=(Input(name="x", shape=(1, "s")),),
        outputs=(Output(name="y", value="y"),),
        nodes=nodes,
    )
    return packed_file.to_bytes(Manifest(network=network), {})


def test_a_length_between_the_ends_may_break_a_rule(engine: str):
    halves = Node(op="reshape", name="pairs", inputs=("x",), outputs=("y",), attributes={"shape": [-1, 2]})
    session = load(one((halves,), 6), engine=engine)
    assert session.run(np.zeros((1, 4), np.float32))["y"].shape == (1, 2, 2)
    with pytest.raises(RuntimeFailure, match=r"pairs.*: expected a shape of"):
        session.run(np.zeros((1, 3), np.float32))


def test_a_length_between_the_ends_may_be_too_large_for_the_plan(engine: str):
    middle = Node(
        op="slice",
        name="middle",
        inputs=("x",),
        outputs=("y",),
        attributes={"axis": 1, "start": -4, "stop": 3, "step": 1},
    )
    session = load(one((middle,), 5), engine=engine)  # 2 of 2, 3 of 3, 3 of 4, 2 of 5
    assert session.run(np.zeros((1, 5), np.float32))["y"].shape == (1, 2)
    with pytest.raises(
        RuntimeFailure,
        match=r"s = 3: expected sizes of 'y' up to \[1, 2\]|s = 3: expected sizes of 'y' behind the batch up to \[2\]",
    ):
        session.run(np.zeros((1, 3), np.float32))
