"""The whole benchmark on a small network: what stands in its result, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gossamer import bench
from gossamer.bench import memory
from gossamer.bench.measure import Timing
from gossamer.bench.result import BenchResult, EngineResult
from gossamer.bench.subject import Port
from gossamer.errors import FileError, RuntimeFailure
from gossamer.resident import is_known
from tests.bench.networks import images, tokens


def _timing(p50: float) -> Timing:
    return Timing(p50=p50, p95=p50, minimum=p50, cold_p50=p50, calls=1)


def _result(**p50: float) -> BenchResult:
    rows = [EngineResult(engine=name, timing=_timing(value)) for name, value in p50.items()]
    return BenchResult(network="n", batch=1, threads=1, rounds=1, engines=rows, layers=[], machine={})


def test_result_holds_every_engine_and_is_json(tmp_path):
    path = images(tmp_path)
    inputs = np.random.default_rng(0).standard_normal((6, 4, 11, 9), dtype=np.float32)
    labels = np.zeros(6, np.int64)
    result = bench.run(
        path,
        engines=["torch", "gossamer"],
        batch=4,
        rounds=1,
        with_memory=False,
        with_cold=False,
        labelled=(inputs, labels),
    )
    plain = json.loads(json.dumps(result.to_json()))
    assert [row["engine"] for row in plain["engines"]] == ["torch", "gossamer"]
    assert plain["engines"][0]["accuracy"] == plain["engines"][1]["accuracy"]
    assert plain["engines"][1]["bytes_on_disk"] == path.stat().st_size
    assert plain["reference"] == "torch"
    assert plain["ratios"]["torch"] == 1.0
    assert {"a", "head"} <= {layer["name"] for layer in plain["layers"]}
    assert plain["machine"]["cpus"] >= 1
    assert "gossamer" in result.table()


def test_layers_know_their_place_below_the_roof(tmp_path):
    result = bench.run(images(tmp_path), engines=["gossamer"], rounds=1, with_memory=False)
    rows = {row["name"]: row for row in result.layers}
    assert sum(row["share"] for row in result.layers) == pytest.approx(1)
    row = rows["a"]  # 3x3 on 4 channels of 11x9, 8 outputs
    touched = row["bytes"] + 4 * (4 * 99 + 8 * 99)
    assert row["intensity"] == pytest.approx(2 * row["macs"] / touched)
    assert row["gflops"] == pytest.approx(2e-9 * row["macs"] / row["seconds"])
    if result.roof is not None:
        assert row["roof_share"] == pytest.approx(row["gflops"] / result.roof.at(row["intensity"]))
    assert rows["max"]["gflops"] is None
    assert "of roof" in result.layer_table()
    assert "were rewritten" in result.cold
    assert result.timing("gossamer").flushed_minimum > 0


def test_variants_share_one_run(tmp_path):
    (tmp_path / "b").mkdir()
    variants = [
        bench.Variant(packed=images(tmp_path), sparsity=0.5, pattern="unstructured"),
        bench.Variant(packed=images(tmp_path / "b"), sparsity=0.9, pattern="block:4x1"),
    ]
    settings = bench.Settings(rounds=1, with_memory=False, with_cold=False)
    first, second = bench.compare(variants, settings=settings, engines=["torch", "gossamer"])
    assert first.timing("torch") is second.timing("torch")
    assert first.timing("gossamer") is not second.timing("gossamer")
    assert second.title == "images, 90 % block:4x1: batch 1, 1 thread"
    assert first.over(["torch", "openvino"]) == pytest.approx(
        first.timing("torch").minimum / first.timing("gossamer").minimum
    )
    assert first.over(["openvino"]) is None


def test_verdict_admits_that_dense_wins():
    assert (
        _result(onnxruntime=1.0, gossamer=2.0).verdict().startswith("onnxruntime is the fastest here, 2.00x")
    )
    assert (
        _result(onnxruntime=4.0, torch=3.0, gossamer=2.0)
        .verdict()
        .startswith("gossamer is the fastest: 1.50x over torch")
    )
    assert _result(gossamer=1.0).verdict().startswith("Nothing to compare")


def test_ratio_refers_to_onnxruntime():
    result = _result(torch=8.0, onnxruntime=4.0, gossamer=1.0)
    assert result.ratio("gossamer") == 4.0
    assert result.ratio("torch") == 0.5
    assert replace(result, engines=[]).ratio("gossamer") is None


def test_an_engine_that_fails_is_a_row_with_the_reason(tmp_path, monkeypatch):
    from gossamer.bench.engines import ENGINES

    class Broken:
        name = "broken"
        runs_packed = False

        def build(self, subject, folder, *, batch):
            raise ValueError("no such luck")

    monkeypatch.setitem(ENGINES, "broken", Broken())
    result = bench.run(
        tokens(tmp_path), engines=["broken", "gossamer"], rounds=1, with_memory=False, with_cold=False
    )
    assert result.engines[0].error == "ValueError: no such luck"
    assert "broken was not measured: ValueError: no such luck" in result.table()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engines": ["onnx"]}, "expected engines out of torch, torch_compile, onnxruntime.*got onnx"),
        ({"engines": []}, "got none"),
        ({"threads": 0}, "expected 1 to"),
        ({"threads": 4096}, "expected 1 to"),
    ],
)
def test_refusals(tmp_path, settings, message):
    with pytest.raises(RuntimeFailure, match=message):
        bench.run(tokens(tmp_path), **settings)


def test_batch_outside_of_the_file(tmp_path):
    with pytest.raises(RuntimeFailure):
        bench.run(tokens(tmp_path), engines=["gossamer"], batch=9, rounds=1)


def test_missing_file(tmp_path):
    with pytest.raises(FileError, match="nowhere"):
        bench.run(tmp_path / "nowhere.safetensors")


@pytest.mark.skipif(not is_known(), reason="this system does not tell a process's memory")
def test_memory_of_a_fresh_process(tmp_path):
    measured = memory.measure(
        "gossamer", tokens(tmp_path), batch=1, threads=1, ports=[Port(shape=(1, 3, 16))]
    )
    assert 2**20 < measured.resident <= measured.peak
    assert abs(measured.own) < measured.resident


def test_a_twin_that_is_another_network(tmp_path):
    with pytest.raises(RuntimeFailure, match=r"expected a dense twin with inputs of shape .*another network"):
        bench.run(images(tmp_path), dense=tokens(tmp_path), engines=["gossamer"], rounds=1)


def test_data_of_another_task(tmp_path):
    inputs = np.zeros((4, 1, 28, 28), np.float32)
    for keyword, value in (("calibration", inputs), ("labelled", (inputs, np.zeros(4, np.int64)))):
        with pytest.raises(
            RuntimeFailure, match=rf"{keyword} inputs: expected .*\(4, 11, 9\), got \(1, 28, 28\)"
        ):
            bench.run(images(tmp_path), engines=["gossamer"], rounds=1, **{keyword: value})


@pytest.mark.parametrize("engine", ["torch", "gossamer"])
def test_batch_outside_of_the_range_whatever_the_engine(tmp_path, engine):
    with pytest.raises(RuntimeFailure, match="batch: expected 1 to"):
        bench.run(tokens(tmp_path), engines=[engine], batch=9, rounds=1)


def test_a_network_with_a_fixed_batch_is_measured_with_it(tmp_path):
    from torch import nn

    from gossamer.export import pack

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return self.fc(x.view(2, 6))

    path = tmp_path / "fixed.safetensors"
    pack(Fixed(), torch.randn(2, 6), path)
    engines = ["torch", "gossamer"]
    labelled = (np.zeros((5, 6), np.float32), np.zeros(5, np.int64))
    result = bench.run(path, engines=engines, rounds=1, with_memory=False, with_cold=False, labelled=labelled)
    assert result.batch == 2
    assert result.engines[0].accuracy == result.engines[1].accuracy


def test_engine_names_with_hyphens(tmp_path):
    result = bench.run(
        tokens(tmp_path), engines=["gossamer", "openvino-int8"], rounds=1, with_memory=False, with_cold=False
    )
    assert [row.engine for row in result.engines] == ["gossamer", "openvino_int8"]
