"""Installs into clean environments: without torch, without a compiler, from the repaired wheel. Slow."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
LOWER_FLOORS = ("errors", "units", "graph", "formats", "kernels", "runtime")

pytestmark = pytest.mark.slow


def run(*command: object, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command with `settings` on top of the environment (an empty string removes a variable)."""
    environment = {k: v for k, v in {**os.environ, **settings}.items() if v != ""}
    return subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def succeed(*command: object, **settings: str) -> str:
    result = run(*command, **settings)
    assert result.returncode == 0, f"{result.args} failed:\n{result.stdout}\n{result.stderr}"
    return result.stdout


def environment_with(folder: Path, wheel: Path) -> Path:
    """The interpreter of a new environment that holds `wheel` and its hard dependencies, and nothing else."""
    succeed(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "-c",
        ROOT / "constraints.txt",
    )
    succeed(*pip, wheel)
    return python


INPUT = np.random.default_rng(0).standard_normal((2, 3, 12, 12), dtype=np.float32)


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """A small packed network: a dense and a sparse convolution, pooling, a sparse linear layer."""
    import torch

    import gossamer

    torch.manual_seed(0)
    nn = torch.nn
    layers = (
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    model = nn.Sequential(*layers, nn.Linear(16, 10)).eval()
    masks = {name: torch.rand_like(model.get_parameter(name)) < 0.2 for name in ("2.weight", "6.weight")}
    path = tmp_path_factory.mktemp("sample") / "net.safetensors"
    gossamer.pack(model, torch.randn(1, 3, 12, 12), path, masks=masks)
    return path


def run_sample(python: Path, sample: Path, folder: Path) -> np.ndarray:
    """`python -m gossamer.runtime`, with only that environment on PATH."""
    quiet = {"PATH": str(python.parent), "PYTHONPATH": "", "CC": "", "CXX": ""}
    np.save(folder / "in.npy", INPUT)
    succeed(python, "-m", "gossamer.runtime", sample, folder / "in.npy", folder / "out.npy", **quiet)
    return np.load(folder / "out.npy")


def expected(sample: Path) -> np.ndarray:
    from gossamer import runtime

    return runtime.load(sample, engine="reference")(INPUT)


@pytest.fixture(scope="module")
def repaired_wheel(tmp_path_factory) -> Path:
    """What `make wheel` makes."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    succeed("make", "wheel", f"WHEELHOUSE={folder}", f"VENV={sys.prefix}")
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def native_environment(repaired_wheel, tmp_path_factory) -> Path:
    return environment_with(tmp_path_factory.mktemp("native"), repaired_wheel)


def build_without_compiler(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    return run(*pip, CC="/nonexistent/cc", CXX="/nonexistent/c++", **settings)


@pytest.fixture(scope="module")
def pure_wheel(tmp_path_factory) -> Path:
    """What an install makes where there is no compiler."""
    folder = tmp_path_factory.mktemp("pure")
    result = build_without_compiler(folder, GOSSAMER_REQUIRE_NATIVE="")
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_wheel_is_for_many_linuxes(repaired_wheel):
    assert "manylinux" in repaired_wheel.name
    files = zipfile.ZipFile(repaired_wheel).namelist()
    assert sum("/_native" in name and name.endswith(".so") for name in files) == 1
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in files}
    assert "gossamer/py.typed" in files


def test_wheel_has_all_instruction_sets(native_environment):
    code = "import json, gossamer._native as n; print(json.dumps(json.loads(n.build_info())['isas_built']))"
    built = set(json.loads(succeed(native_environment, "-c", code)))
    machine = os.uname().machine
    assert built == ({"portable", "avx2", "avx512"} if machine == "x86_64" else {"portable", "neon"})


def test_wheel_runs_natively_without_compiler_or_torch(native_environment, sample, tmp_path):
    assert run(native_environment, "-c", "import torch").returncode != 0
    code = "import gossamer.runtime, sys; gossamer.runtime.load(sys.argv[1], engine='native')"
    succeed(native_environment, "-c", code, sample, PYTHONPATH="")
    np.testing.assert_allclose(
        run_sample(native_environment, sample, tmp_path), expected(sample), rtol=1e-4, atol=1e-5
    )


def test_lower_floors_import_without_torch(native_environment):
    code = (
        "import importlib, pkgutil, sys\n"
        f"for floor in {LOWER_FLOORS!r}:\n"
        "    module = importlib.import_module('gossamer.' + floor)\n"
        "    for child in pkgutil.walk_packages(getattr(module, '__path__', []), module.__name__ + '.'):\n"
        "        if not child.name.endswith('__main__'):\n"
        "            importlib.import_module(child.name)\n"
    )
    succeed(native_environment, "-c", code, PYTHONPATH="")


def test_command_says_which_extra_is_missing(native_environment):
    result = run(native_environment.parent / "gossamer", "doctor", PYTHONPATH="")
    assert result.returncode != 0
    assert "gossamer[cli]" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_compiler_the_slow_reference_is_installed(pure_wheel, sample, tmp_path):
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(pure_wheel).namelist() if name.endswith(".so")]
    python = environment_with(tmp_path / "environment", pure_wheel)
    np.testing.assert_allclose(run_sample(python, sample, tmp_path), expected(sample), rtol=1e-6, atol=1e-6)


def test_a_required_native_build_never_falls_back(tmp_path):
    result = build_without_compiler(tmp_path, GOSSAMER_REQUIRE_NATIVE="1")
    assert result.returncode != 0
    assert list(tmp_path.glob("*.whl")) == []
