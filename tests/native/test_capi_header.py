"""native/capi.h is a C header: a C99 compiler takes it without a warning."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) on PATH")
def test_the_header_is_plain_c():
    program = '#include "capi.h"\nint main(void) { gsm_file* file = 0; return (int)gsm_open("", &file); }\n'
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    command = ["cc", *flags, "-I", str(ROOT / "native"), "-x", "c", "-"]
    done = subprocess.run(command, input=program.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
