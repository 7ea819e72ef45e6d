"""The committed file of format version 2: two runs with a kept state give the stored outputs, in every engine."""

from pathlib import Path

import numpy as np
import pytest

from gossamer.kernels import native
from gossamer.runtime import load

FILE = Path(__file__).parents[1] / "data" / "packed" / "version_2.safetensors"


@pytest.mark.parametrize("engine", ["reference", pytest.param("native", marks=pytest.mark.native)])
def test_stored_outputs(engine: str):
    if engine == "native" and not native.status().available:
        pytest.skip(native.status().reason)
    session = load(FILE, engine=engine)
    stored = np.load(FILE.with_suffix(".npz"))
    for run in (1, 2):
        inputs = {name: stored[f"{name}_{run}"] for name in ("tokens", "keep", "image")}
        found = session.run(inputs)
        assert set(found) == {"scores", "h_next", "c_next"}
        for name, value in found.items():
            np.testing.assert_allclose(value, stored[f"{name}_{run}"], rtol=1e-5, atol=1e-5)
