"""Every operator of format version 2 in the dense engines: three translations that know nothing of each other agree."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.bench.engines import ENGINES
from gossamer.bench.subject import DenseNetwork, Port, Subject, random_inputs
from gossamer.errors import MissingExtraError
from tests.bench.networks_version_2 import LENGTH, everything


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("v2") / "everything.safetensors")


def outputs(engine: str, path, folder, batch: int) -> list[np.ndarray]:
    try:
        artifact = ENGINES[engine].build(Subject(packed=path), folder, batch=batch)
    except MissingExtraError as error:
        pytest.skip(str(error))
    inputs = random_inputs(DenseNetwork.of(path).ports(batch), seed=0)
    return ENGINES[engine].open(artifact.path, batch=batch, threads=1)(inputs)


def test_ports_ask_for_whole_numbers_in_range(path):
    ports = DenseNetwork.of(path).ports(2)
    assert ports == [
        Port(shape=(2, 4, 6, 6)),
        Port(shape=(2, LENGTH), high=11),
        Port(shape=(2, LENGTH), high=2),
    ]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_agree(engine, path, tmp_path, batch):
    names = [output.name for output in DenseNetwork.of(path).network.outputs]
    expected = outputs("torch", path, tmp_path, batch)
    found = outputs(engine, path, tmp_path, batch)
    assert len(found) == len(expected) == len(names)
    for name, ours, theirs in zip(names, found, expected, strict=True):
        assert ours.shape == theirs.shape, name
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5, err_msg=name)
