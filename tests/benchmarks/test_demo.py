"""The demo from start to end with `--quick`, and the README's table against the stored measurement."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import demo, fashion_mnist

ROOT = Path(__file__).parents[2]
KEYS = {
    "sparsity",
    "accuracy_dense",
    "accuracy_sparse",
    "bytes_dense_fp32",
    "bytes_packed",
    "latency_ms",
    "machine",
}


@pytest.mark.slow
def test_demo_leaves_result_and_report(tmp_path):
    command = [sys.executable, "benchmarks/demo.py", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result) >= KEYS
    assert set(result["latency_ms"]) >= {"torch", "onnxruntime", "openvino_int8", "gossamer"}
    assert result["quick"] is True
    assert result["sparsity"] == pytest.approx(0.9, abs=0.001)
    assert result["bytes_packed"] * 6 < result["bytes_dense_fp32"]
    assert result["bytes_packed"] == (tmp_path / "sparse.safetensors").stat().st_size
    assert 0 <= result["accuracy_sparse"] <= 1
    assert result["accuracy_dense"] == result["accuracy"]["torch"]  # both on the same images
    assert result["test_images"] == 5000
    report = (tmp_path / "report.html").read_text()
    assert report.count("<svg") >= 5
    assert "layer3.2.conv2" in report
    assert "not to be quoted" in done.stdout


def _result() -> dict:
    engines = {
        name: {
            "engine": name,
            "accuracy": 0.9,
            "bytes_on_disk": 1024,
            "timing": {"p50": 1.0, "p95": 2.0, "minimum": 0.5},
            "memory": {"resident": 2**20},
        }
        for name in ("onnxruntime", "gossamer")
    }
    return {
        "engines": engines,
        "ratios": {"onnxruntime": 1.0, "gossamer": 2.5},
        "num_kept": 10,
        "num_weights": 100,
        "bytes_dense_fp32": 3000,
        "bytes_packed": 1000,
        "accuracy_dense": 0.91,
        "accuracy_sparse": 0.9,
        "sparsity": 0.9,
        "test_images": 5000,
        "steps": 7,
        "quick": False,
    }


def test_table_tells_size_accuracy_and_ratio():
    text = demo.table(_result())
    assert "2.50x" in text
    assert "3.0x smaller" in text
    assert "accuracy -1.00 points against the dense twin" in text


def test_markdown_takes_means_over_seeds():
    machine = {
        "cpu": "a CPU",
        "isa": "avx2",
        "versions": {"torch": "2", "onnxruntime": "1", "openvino": "3"},
    }
    runs = [_result(), _result()]
    runs[1]["engines"]["gossamer"]["accuracy"] = 0.8
    stored = {"runs": runs, "machine": machine, "date": "2026-01-01", "command": "c"}
    text = fashion_mnist.markdown(stored)
    assert "**85.00 ± 7.07 %**" in text
    assert "90.00 ± 0.00 %" in text
    assert "2 seeds" in text


@pytest.mark.skipif(not fashion_mnist.RESULT.exists(), reason="the table was not measured yet")
def test_readme_shows_the_stored_measurement():
    readme = fashion_mnist.README.read_text()
    assert readme == fashion_mnist.with_table(readme, json.loads(fashion_mnist.RESULT.read_text()))


def test_side_by_side_answers_by_name_and_relays_progress(capfd):
    answers = demo.side_by_side({"first": ["recipes", "list"], "second": ["doctor"]})
    assert set(answers) == {"first", "second"}
    assert "gossamer" in json.dumps(answers["second"])
    assert "$ gossamer recipes list" in capfd.readouterr().err


def test_side_by_side_ends_with_the_code_of_the_command_that_failed(capfd):
    with pytest.raises(SystemExit) as ended:
        demo.side_by_side({"good": ["recipes", "list"], "bad": ["train", "no-such-recipe"]})
    assert ended.value.code not in (0, None)
    assert "bad  | " in capfd.readouterr().err
