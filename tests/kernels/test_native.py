"""The native library is loaded late, and its absence is told in words, once an operation."""

import subprocess
import sys
import warnings

import pytest

from gossamer.kernels import native


@pytest.fixture
def without_native(monkeypatch):
    def refuse(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    native.status.cache_clear()
    native._warn_slow.cache_clear()
    monkeypatch.setattr(native.importlib, "import_module", refuse)
    yield
    native.status.cache_clear()
    native._warn_slow.cache_clear()


def test_its_absence_is_a_status_and_one_warning(without_native):
    assert not native.status().available
    assert "No module named 'gossamer._native'" in native.status().reason
    with pytest.warns(
        RuntimeWarning, match="project_gs: using the slow NumPy reference: native library not usable"
    ):
        assert native.operation("project_gs") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.operation("project_gs") is None


def test_nothing_is_loaded_at_import():
    code = (
        "import sys, gossamer.sparsity, gossamer.kernels.project; sys.exit('gossamer._native' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
