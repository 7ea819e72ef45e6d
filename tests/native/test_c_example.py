"""The C example of examples/: built as its comment says, run without Python, equal to the runtime."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gossamer import runtime
from tests.bench.networks import images

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "build" / "native"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None or not (LIBRARY / "libgossamer.so").exists():
        pytest.skip("needs a C compiler and build/native/libgossamer.so (make native)")
    target = tmp_path_factory.mktemp("c") / "run_packed"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    link = ["-I", ROOT / "native", "-L", LIBRARY, "-lgossamer", f"-Wl,-rpath,{LIBRARY}"]
    source = ROOT / "examples" / "run_packed.c"
    subprocess.run([compiler, *strict, source, *link, "-o", target], check=True)
    return target


@pytest.mark.parametrize("batch", [1, 3])
def test_same_values_as_the_runtime(program, tmp_path, batch):
    path = images(tmp_path)
    x = np.random.default_rng(0).standard_normal((batch, 4, 11, 9), dtype=np.float32)
    x.tofile(tmp_path / "in.f32")
    done = subprocess.run(
        [program, path, tmp_path / "in.f32", tmp_path / "out.f32", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{path}: batch {batch}, {5 * batch} values of 'y'\n"
    expected = runtime.load(path, threads=1).run({"x": x})["y"]
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out.f32", np.float32), expected.ravel())


def test_failures_are_told(program, tmp_path):
    path = images(tmp_path)
    (tmp_path / "in.f32").write_bytes(b"1234" * 7)
    for arguments, words in (
        ([], "usage"),
        ([tmp_path / "absent", tmp_path / "in.f32", "x"], "absent"),
        ([path, tmp_path / "in.f32", "x"], "in.f32: expected a multiple of 1584 bytes, got 28"),
        ([path, tmp_path / "in.f32", "x", "abc"], "THREADS: expected a whole number from 1 on"),
        ([path, tmp_path / "in.f32", "x", "0"], "THREADS: expected a whole number from 1 on"),
    ):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert words in done.stderr
        assert "failed" not in done.stderr  # every line says what


def test_length_of_the_example():
    assert len((ROOT / "examples" / "run_packed.c").read_text().splitlines()) <= 75
