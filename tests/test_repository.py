"""House rules that can be checked by reading the tracked files."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEBIBYTE = 2**20

# Tracked files above 1 MiB, each with its reason.
LARGE = {
    "src/gossamer/tasks/data/*": "Fashion-MNIST subset: the embedded default of the demo and of every recipe",
}
DEBRIS = re.compile(
    r"(^|/)(__pycache__|build|dist|wheelhouse|\.venv|node_modules|core|a\.out)(/|$)"
    r"|\.(pyc|pyo|o|a|so|dll|orig|rej|bak|swp|tmp|log|pt|pth|pkl|pickle)$|~$|(^|/)\.DS_Store$"
)
HOME = re.compile(r"(?<![\w.:/-])/(?:home|root|work|Users|opt)/[\w.-]+")


@cache
def tracked() -> tuple[str, ...]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: no list of tracked files")
    output = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return tuple(name for name in output.stdout.split("\0") if name and (ROOT / name).is_file())


def test_no_large_file():
    large = [
        name
        for name in tracked()
        if (ROOT / name).stat().st_size > MEBIBYTE and not any(Path(name).match(allowed) for allowed in LARGE)
    ]
    assert large == []


def test_no_long_source():
    """Aim at 250 lines a file; above 400 it is two concepts."""
    long = {
        name: lines
        for name in tracked()
        if name.startswith(("src/", "native/")) and name.endswith((".py", ".cpp", ".h"))
        if (lines := (ROOT / name).read_text().count("\n")) > 400
    }
    assert long == {}


def test_no_debris():
    assert [name for name in tracked() if DEBRIS.search(name)] == []


def test_no_path_of_one_machine():
    texts = (
        ".py",
        ".cpp",
        ".h",
        ".md",
        ".toml",
        ".yaml",
        ".yml",
        ".json",
        ".txt",
        ".cmake",
        "Makefile",
        "run",
    )
    found = [
        f"{name}: {match[0]}"
        for name in tracked()
        if name.endswith(texts) and name != "tests/test_repository.py"
        if (match := HOME.search((ROOT / name).read_text()))
    ]
    assert found == []


def test_every_source_has_a_docstring():
    bare = [
        name
        for name in tracked()
        if name.startswith(("src/", "benchmarks/", "scripts/")) and name.endswith(".py")
        if not (ROOT / name).read_text().startswith(('"""', 'r"""', "#!"))
    ]
    assert bare == []


def test_tests_mirror_the_source():
    """tests/a/test_b.py tests src/gossamer/a/b.py or something of the package a."""
    floors = {path.name for path in (ROOT / "src/gossamer").iterdir() if path.is_dir()}
    others = {"contracts", "packaging", "docs", "native", "benchmarks", "scripts", "data"}
    strange = {
        parts[1]
        for name in tracked()
        if name.startswith("tests/") and len(parts := name.split("/")) > 2 and parts[1] not in floors | others
    }
    assert strange == set()
