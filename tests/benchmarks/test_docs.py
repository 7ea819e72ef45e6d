"""The generated parts of the pages are those of the stored results, and every block has a place."""

from __future__ import annotations

import re

import pytest

from benchmarks import docs
from benchmarks.tables import methods, networks


@pytest.mark.parametrize("name", docs.PAGES)
def test_the_page_is_fresh(name):
    text = (docs.DOCS / name).read_text()
    assert docs.filled(text) == text, "run python -m benchmarks.docs"


def test_every_block_stands_on_a_page():
    found = {
        name
        for page in docs.PAGES
        for name in re.findall(r"<!-- begin (\S+) -->", (docs.DOCS / page).read_text())
    }
    assert found == set(docs.BLOCKS)


def test_the_sieve_in_words(monkeypatch):
    entry = {
        "difference": -0.06,
        "interval": 0.14,
        "seeds": 5,
        "wanted_seeds": 5,
        "removed": 0.25,
        "claim": {"loss": 0.3, "removed": 0.2},
        "verdict": "confirmed",
    }
    monkeypatch.setattr(methods, "read", lambda name: {"sieve": entry})
    assert methods.sieve_text() == (
        "With the sieve less without it: -0.06 ± 0.14 points over 5 of 5 seeds; at least 25.0 % of the examples were removed. No more than "
        "0.3 points lost while at least 20 % are removed: **confirmed**."
    )


def test_network_table_of_a_record(monkeypatch):
    record = {
        "network": "net", "pattern": "block:4x1", "sparsity": 0.9, "dtype": "float32", "batch": 1, "threads": 1, "masks": "random",
        "ms": {"onnxruntime": 4.0, "openvino": 5.0, "gossamer": 1.0}, "ms_cold": {"onnxruntime": 6.0, "gossamer": 2.0},
        "ratio_over_best_dense": 4.0, "ratio_over_int8": None, "max_rel_error": 2e-7, "warnings": ["noisy"],
    }  # fmt: skip
    machine = {"cpu": "a CPU", "isa": "avx2", "features": ["avx_vnni"], "versions": {"torch": "2"}}
    stored = {"command": "python x.py", "date": "2026-01-01", "machine": machine, "records": [record]}
    monkeypatch.setattr(networks, "read", lambda name: stored)
    text = networks.network_table("net")
    assert "| net | block:4x1 | 90 % | fp32 | 1 | 1 | 4 | 5 | – | 1 | **4.00x** | – | 3.00x | 2e-07 |" in text
    assert "a CPU (avx2 with avx_vnni), torch 2, 2026-01-01" in text
    assert "1 of 1 rows were measured on a noisy machine" in text
