"""Every engine computes the same network: compared with the NumPy reference executor."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer import runtime
from gossamer.bench.engines import ENGINES
from gossamer.bench.subject import DenseNetwork, Subject, random_inputs
from gossamer.errors import MissingExtraError
from tests.bench.networks import NETWORKS

FLOAT_ENGINES = ["torch", "onnxruntime", "openvino", "gossamer"]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("engine", FLOAT_ENGINES)
def test_engine_agrees_with_the_reference(engine, network, batch, tmp_path):
    path = NETWORKS[network](tmp_path)
    inputs = random_inputs(DenseNetwork.of(path).input_shapes(batch), seed=0)
    expected = runtime.load(path, engine="reference").run({"x": inputs[0]})["y"]
    try:
        artifact = ENGINES[engine].build(Subject(packed=path), tmp_path, batch=batch)
    except MissingExtraError as error:
        pytest.skip(str(error))
    run = ENGINES[engine].open(artifact.path, batch=batch, threads=1)
    outputs = run(inputs)
    assert len(outputs) == 1
    np.testing.assert_allclose(outputs[0], expected, rtol=2e-4, atol=2e-5)
    assert artifact.bytes_on_disk > 0


def test_run_returns_fresh_arrays(tmp_path):
    path = NETWORKS["tokens"](tmp_path)
    first, second = random_inputs([(1, 3, 16), (1, 3, 16)], seed=0)
    for name in FLOAT_ENGINES:
        try:
            artifact = ENGINES[name].build(Subject(packed=path), tmp_path, batch=1)
        except MissingExtraError:
            continue
        run = ENGINES[name].open(artifact.path, batch=1, threads=1)
        kept = run([first])[0]
        copy = kept.copy()
        run([second])
        assert (kept == copy).all(), f"{name} overwrote an answer it had given"


def test_names_are_those_of_the_table():
    assert list(ENGINES) == ["torch", "onnxruntime", "openvino", "openvino_int8", "gossamer"]
    assert [name for name, engine in ENGINES.items() if engine.runs_packed] == ["gossamer"]
