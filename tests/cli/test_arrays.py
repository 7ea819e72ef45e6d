"""Arrays for `gossamer run`: integers, states, a missing batch."""

from pathlib import Path

import numpy as np
import pytest

from gossamer.cli.arrays import read_inputs
from gossamer.errors import RuntimeFailure
from gossamer.graph import Input

TOKENS = Input(name="tokens", shape=("n", "s"), dtype="int64")
STATE = Input(name="h", shape=("n", 3))


def saved(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


def test_integers_get_a_batch_and_their_dtype(tmp_path: Path):
    for array in (np.array([1, 2]), np.array([1.0, 2.0]), np.array([1, 2], np.uint8)):
        found = read_inputs(saved(tmp_path, array), [TOKENS], None)["tokens"]
        assert found.dtype == np.int64
        assert found.tolist() == [[1, 2]]
    with pytest.raises(RuntimeFailure, match="expected whole numbers for 'tokens', got float64 with others"):
        read_inputs(saved(tmp_path, np.array([1.5])), [TOKENS], None)


def test_states_may_be_left_out(tmp_path: Path):
    path = saved(tmp_path, np.array([[1, 2]]))
    assert list(read_inputs(path, [STATE, TOKENS], None, ["h"])) == ["tokens"]
    with pytest.raises(RuntimeFailure, match="the network has 2 inputs"):
        read_inputs(path, [STATE, TOKENS], None)
    np.savez(tmp_path / "x.npz", tokens=np.array([[1, 2]]), h=np.zeros((1, 3)))
    found = read_inputs(tmp_path / "x.npz", [STATE, TOKENS], None, ["h"])
    assert {name: str(array.dtype) for name, array in found.items()} == {"h": "float32", "tokens": "int64"}


@pytest.mark.parametrize(
    ("item", "array", "words"),
    [
        (
            STATE,
            np.array([[1.0, -1e300, 2.0]]),
            "-1e[+]300 does not fit float32, the numbers of the input 'h'",
        ),
        (TOKENS, np.array([[1.0, 1e300]]), "1e[+]300 does not fit int64"),
        (TOKENS, np.array([[np.inf]]), "inf does not fit int64"),
        (TOKENS, np.array([[2**64 - 1]], np.uint64), "does not fit int64"),
    ],
)
def test_numbers_that_do_not_fit_are_named(item: Input, array: np.ndarray, words: str, tmp_path: Path):
    with pytest.raises(RuntimeFailure, match=words):
        read_inputs(saved(tmp_path, array), [item], None)


def test_an_infinity_of_the_file_stays_one(tmp_path: Path):
    found = read_inputs(saved(tmp_path, np.array([[np.inf, np.nan, 1.0]])), [STATE], None)["h"]
    np.testing.assert_array_equal(found, np.array([[np.inf, np.nan, 1.0]], np.float32))
