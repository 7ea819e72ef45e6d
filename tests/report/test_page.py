"""The page is one file that needs nothing from elsewhere, and text in it is text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from gossamer.errors import GossamerError
from gossamer.report import Figure, KeyFigures, Page, Section, Table, Text, plots, sections

BENCH = {
    "network": "net", "batch": 1, "threads": 1, "rounds": 3, "quick": True, "reference": "torch",
    "verdict": "gossamer is the fastest: 2.00x over torch, the best of the others.", "warnings": ["noisy"],
    "ratios": {"torch": 1.0, "gossamer": 2.0, "gone": None},
    "engines": [
        {"engine": "torch", "bytes_on_disk": 4096, "accuracy": 0.5, "note": "eager", "error": "", "memory": None,
         "timing": {"p50": 2.0, "p95": 2.5, "minimum": 1.9, "cold_p50": 3.0, "calls": 9}},
        {"engine": "gossamer", "bytes_on_disk": 1024, "accuracy": None, "note": "", "error": "",
         "memory": {"resident": 2**25, "peak": 2**26, "own": 2**21},
         "timing": {"p50": 1.0, "p95": 1.5, "minimum": 0.9, "cold_p50": 2.0, "calls": 9}},
        {"engine": "gone", "bytes_on_disk": 0, "accuracy": None, "note": "", "error": "not <installed>", "memory": None,
         "timing": None},
    ],
    "layers": [
        {"name": "conv1", "op": "conv2d", "kernel": "spmm", "reason": "90 % absent", "macs": 10, "macs_dense": 100,
         "num_kept": 10, "num_weights": 100, "bytes": 60, "seconds": 1e-5},
        {"name": "relu", "op": "relu", "kernel": "fused:conv1", "reason": "epilogue", "macs": 0, "macs_dense": 0,
         "num_kept": 0, "num_weights": 0, "bytes": 0, "seconds": 0.0},
    ],
    "machine": {"cpu": "a CPU", "cpus": 2, "versions": {"numpy": "2"}},
}  # fmt: skip


class _Balance(HTMLParser):
    """Checks that every tag is closed in order."""

    VOID = frozenset({"meta", "br", "path", "use", "rect", "line", "circle"})

    def __init__(self):
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def _page() -> Page:
    made = [make(BENCH) for make in (sections.engines, sections.density, sections.layers, sections.machine)]
    rows = [
        {"step": 10, "loss": 1.0, "density": 0.5},
        {"step": 20, "loss": 0.5, "density": 0.1, "test_accuracy": 0.9},
    ]
    return Page(
        title="A <title>",
        lead="lead & more",
        sections=(sections.training({"dense": rows, "sparse": rows}), *made),
    )


def test_page_is_self_contained_and_balanced():
    html = _page().html()
    checker = _Balance()
    checker.feed(html)
    assert checker.open == []
    assert not re.search(r'(src|href)="(?!#)', html), "a page must not load anything"
    assert "<script" not in html
    assert "url(http" not in html


def test_text_is_escaped():
    html = _page().html()
    assert "A &lt;title&gt;" in html
    assert "not &lt;installed&gt;" in html
    assert "<installed>" not in html


def test_blocks_show_what_they_are_given():
    assert Text(text="a", note=True).html() == '<p class="note">a</p>'
    assert "<b>3x</b><span>faster</span>" in KeyFigures(figures=(("3x", "faster"),)).html()
    table = Table(header=["a", "b"], rows=[["1", "2"], ["3", "4"]], words=(1,), marked=(1,)).html()
    assert table.count("<tr") == 3
    assert '<tr class="marked"><td>3</td><td class="words">4</td></tr>' in table
    assert 'aria-label="what it shows"' in Figure(svg="<svg></svg>", caption="what it shows").html()
    assert Section(title="t", blocks=()).html() == "<section><h2>t</h2></section>"


def test_equal_data_give_equal_drawings():
    assert plots.bars({"a": 1.0, "b": 2.0}, unit="ms") == plots.bars({"a": 1.0, "b": 2.0}, unit="ms")


def test_write_is_atomic_and_reports_a_bad_place(tmp_path):
    path = _page().write(tmp_path / "deep" / "report.html")
    assert path.read_text().startswith("<!doctype html>")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(GossamerError, match="cannot write"):
        _page().write(tmp_path / "file" / "report.html")


def test_key_figures_compare_with_the_reference():
    html = sections.engines(BENCH).html()
    assert "<b>2.00x</b><span>speed, against torch (medians)</span>" in html
    assert "<b>4.0x</b><span>smaller on disk than torch</span>" in html
    assert "accuracy," not in html  # gossamer has none here
    without = {**BENCH, "engines": BENCH["engines"][:1]}
    assert 'class="figures"' not in sections.engines(without).html()


def test_many_layers_are_numbered_and_few_are_named():
    row = BENCH["layers"][0]
    few = {**BENCH, "layers": [{**row, "name": f"block{index}"} for index in range(40)]}
    many = {**BENCH, "layers": [{**row, "name": f"block{index}"} for index in range(150)]}
    assert "block39" in sections.density(few).html()
    html = sections.density(many).html()
    assert "block39" not in html
    assert "number of the layer" in html
    width = float(re.search(r'width="([0-9.]+)pt"', html).group(1))
    assert width <= 11 * 72


def test_networks_without_weights_and_bars_of_zero():
    assert "no weight matrices" in sections.density({**BENCH, "layers": BENCH["layers"][1:]}).html()
    assert "<svg" in plots.bars({"a": 0.0, "b": -1.0}, unit="MiB")


def test_a_fused_layer_names_its_host_once():
    row = sections.layers(BENCH).blocks[0].rows[1]
    assert row[2] == "fused"
