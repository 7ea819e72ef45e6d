"""Units of one instruction set share nothing that a linker could mix up, and the portable one runs on a CPU without AVX."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "native"
X86 = platform.machine() in {"x86_64", "AMD64"}
FLAGS = {"portable": []} | (
    {
        "avx2": ["-mavx2", "-mfma", "-mf16c"],
        "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c"],
    }
    if X86
    else {"neon": []}
)
COMPILER = shutil.which("c++") or shutil.which("g++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")


def compile_unit(source: Path, to: Path, flags: list[str]) -> Path:
    assert COMPILER is not None
    command = [
        COMPILER,
        "-std=c++17",
        "-O1",
        "-fPIC",
        f"-I{NATIVE}",
        *flags,
        "-c",
        str(source),
        "-o",
        str(to),
    ]
    subprocess.run(command, check=True)
    return to


@needs_compiler
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
@pytest.mark.parametrize("isa", FLAGS)
def test_unit_exports_one_symbol(isa: str, tmp_path: Path) -> None:
    unit = compile_unit(NATIVE / "kernels" / f"isa_{isa}.cpp", tmp_path / "unit.o", FLAGS[isa])
    listing = subprocess.run(["nm", str(unit)], check=True, capture_output=True, text=True).stdout
    defined = [
        line.split()[-2:]
        for line in listing.splitlines()
        if line.split()[-2] not in {"U", "t", "r", "d", "b"}
    ]
    assert defined == [["T", f"gossamer_kernels_{isa}"]]


@needs_compiler
@pytest.mark.skipif(
    not X86 or shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64 (Debian package qemu-user)"
)
def test_portable_kernels_on_nehalem(tmp_path: Path) -> None:
    sources = [NATIVE / "kernels/isa_portable.cpp", NATIVE / "isa.cpp", NATIVE / "tests/test_kernels.cpp"]
    units = [str(compile_unit(source, tmp_path / f"{source.stem}.o", [])) for source in sources]
    program = tmp_path / "test_kernels"
    assert COMPILER is not None
    subprocess.run([COMPILER, *units, "-o", str(program)], check=True)
    done = subprocess.run(
        ["qemu-x86_64", "-cpu", "Nehalem", str(program), "portable"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "portable: 0 failures" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None or shutil.which("qemu-aarch64") is None,
    reason="needs aarch64-linux-gnu-g++ and qemu-aarch64 (Debian packages g++-aarch64-linux-gnu, qemu-user)",
)
def test_native_tests_on_aarch64() -> None:
    done = subprocess.run(["make", "native-tests-arm"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100% tests passed" in done.stdout
