"""Several threads on several networks: the answers of scripts/soak.py stay those of one thread."""

from __future__ import annotations

import pytest

from gossamer.kernels import native
from scripts.soak import NETWORKS, cases, soak

pytestmark = pytest.mark.skipif(not native.status().available, reason="needs the native library")


def test_a_second_of_load(tmp_path):
    load = soak(cases(tmp_path, NETWORKS[:2]), threads=4, seconds=1.0)
    assert load.wrong == []
    assert load.calls >= 4


@pytest.mark.slow
def test_a_minute_of_load(tmp_path):
    load = soak(cases(tmp_path), threads=4, seconds=60.0)
    assert load.wrong == []
    assert load.calls > 100
