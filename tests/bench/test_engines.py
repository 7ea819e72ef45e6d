"""Every engine computes the same network: compared with the NumPy reference executor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gossamer import runtime
from gossamer.bench.engines import ENGINES
from gossamer.bench.subject import DenseNetwork, Subject, random_inputs
from gossamer.errors import MissingExtraError
from gossamer.export import pack
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
    assert list(ENGINES) == ["torch", "torch_compile", "onnxruntime", "openvino", "openvino_int8", "gossamer"]
    assert [name for name, engine in ENGINES.items() if engine.runs_packed] == ["gossamer"]


def test_quantization_leaves_standard_output_alone(tmp_path, capfd):
    """`--json` promises one JSON object there; NNCF draws progress bars."""
    try:
        ENGINES["openvino_int8"].build(Subject(packed=NETWORKS["tokens"](tmp_path)), tmp_path, batch=1)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("engine", FLOAT_ENGINES)
def test_adaptive_pooling_with_unequal_windows(engine, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "pool.safetensors"
    example = torch.randn(2, 3, 5, 4)
    model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d((3, 7)))
    pack(model, example, path, dtype="float32")
    try:
        artifact = ENGINES[engine].build(Subject(packed=path), tmp_path, batch=2)
    except MissingExtraError as error:
        pytest.skip(str(error))
    (found,) = ENGINES[engine].open(artifact.path, batch=2, threads=1)([example.numpy()])
    np.testing.assert_allclose(found, model(example).numpy(), rtol=1e-5, atol=1e-6)
