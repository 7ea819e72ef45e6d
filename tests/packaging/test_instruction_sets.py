"""Object files of the instruction-set units share nothing that a linker could merge.

An inline function or template compiled with AVX flags is a weak symbol; where the linker keeps that copy for
all, the portable path dies with SIGILL on a CPU without AVX.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

OBJECTS = sorted(Path(__file__).parents[2].glob("build/native/CMakeFiles/gossamer_isa_*.dir/**/*.o"))


@pytest.mark.native
@pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not installed")
@pytest.mark.skipif(not OBJECTS, reason="no object files under build/native: run `make native`")
@pytest.mark.parametrize("unit", [p for p in OBJECTS if "portable" not in p.name], ids=lambda path: path.name)
def test_unit_defines_no_weak_symbol(unit):
    lines = subprocess.run(
        ["nm", "-C", "--defined-only", unit], check=True, capture_output=True, text=True
    ).stdout
    weak = [line for line in lines.splitlines() if line.split(maxsplit=2)[1] in "WVwvu"]
    # A DW.ref or typeinfo of the C++ runtime holds no code.
    assert [line for line in weak if "DW.ref" not in line and "typeinfo" not in line] == []
