"""`python -m gossamer.runtime`: one run without any extra; whatever is wrong is one line on stderr."""

from pathlib import Path

import numpy as np
import pytest

from gossamer.runtime.__main__ import main
from tests.runtime.test_session import two_inputs

FILE = Path(__file__).parents[1] / "data" / "packed" / "version_1.safetensors"
SOURCE = str(FILE.with_name("version_1_input.npy"))


def test_all_outputs_by_name(tmp_path: Path):
    target = tmp_path / "out.npz"
    assert main([str(FILE), SOURCE, str(target)]) == 0
    found = np.load(target)
    assert set(found) == {"probabilities", "features"}
    np.testing.assert_allclose(
        found["features"], np.load(FILE.with_name("version_1_features.npy")), rtol=1e-5, atol=1e-5
    )


def test_inputs_by_name_and_one_output(tmp_path: Path):
    (tmp_path / "two").write_bytes(two_inputs())
    np.savez(tmp_path / "in.npz", a=np.ones((2, 3), np.float32), b=np.full((2, 3), 2, np.float32))
    assert main([str(tmp_path / "two"), str(tmp_path / "in.npz"), str(tmp_path / "out.npy")]) == 0
    assert np.load(tmp_path / "out.npy").tolist() == [[3, 3, 3], [3, 3, 3]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.npy", None, "cannot read"),
        ("empty.npy", b"", "expected arrays of numbers"),
        ("text.npy", b"1 2 3", "expected arrays of numbers"),
        ("image.npy", b"\x89PNG\r\n\x1a\n and more", "got a file that begins with b'\\x89PNG"),
        ("objects.npy", object, "got: Python objects, which are not read"),
        ("half.npz", b"PK\x03\x04 and no more", "expected arrays of numbers"),
        ("claim.npy", b"\x93NUMPY\x01\0\x46\0{'descr':'<f4','fortran_order':False,'shape':(1000000000000000,)}   \n", "expected arrays"),
        ("float64.npy", np.float64, "expected float32, got float64"),
    ],
)  # fmt: skip
def test_inputs_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: object, words: str
):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.save(tmp_path / name, np.load(SOURCE).astype(content))
    assert main([str(FILE), str(tmp_path / name), str(tmp_path / "out.npz")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert "allow_pickle" not in error
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("out.npy", "expected a name that ends with .npz, because there are several"),
        ("out.txt", "ends with .npz"),
        ("absent/out.npz", "expected an existing folder"),
    ],
)
def test_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, words: str):
    assert main([str(FILE), SOURCE, str(tmp_path / target)]) == 2
    assert words in capsys.readouterr().err


def test_more_threads_than_cpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(FILE), SOURCE, str(tmp_path / "out.npz"), "--threads", "4096"]) == 2
    assert "(the CPUs this process may use), got 4096" in capsys.readouterr().err
