"""The section of costs tells the numbers of a result, and the plot has one band a layer."""

from gossamer.report import Page, plots
from gossamer.report.costs import costs, density_over_steps

KINDS = ("weights", "gradients", "optimizer", "indices", "activations", "total")


def memory(number: int) -> dict[str, int]:
    return dict.fromkeys(KINDS, number << 20)


RESULT = {
    "cost": {
        "steps": 20,
        "examples": 1280,
        "macs": 3 * 10**12,
        "dense_macs": 12 * 10**12,
        "examples_left_out": 64,
        "macs_left_out": 10**12,
        "names": ["stem.weight", "fc.weight"],
        "sizes": [10, 0],
        "trace": [{"step": 0, "num_kept": [10, 0]}, {"step": 8, "num_kept": [4, 0]}],
    },
    "memory": {
        "measured": memory(7),
        "predicted": {
            "dense": {"target": memory(9)},
            "compact": {"target": memory(2), "peak": memory(3)},
        },
    },
    "sieve": {
        "epoch": 3,
        "removed": 25,
        "num_examples": 100,
        "fraction": 0.25,
        "unforgettable": 40,
        "forgotten": 50,
        "never_learned": 10,
    },
}


def test_the_section_tells_its_numbers() -> None:
    html = Page(title="t", lead="", sections=(costs("run <1>", RESULT),)).html()
    for text in (
        "Costs: run &lt;1&gt;",
        "3000 G MACs",
        "25.0 %",
        "1,280",
        "7.0 MiB",
        "predicted compact, at the peak",
        "<td>3.00</td>",
        "After epoch 3 the sieve removed 25 of 100 examples",
        "64 presentations and 1000 G MACs (2000 G FLOPs)",
    ):
        assert text in html, text
    assert "predicted dense</td>" in html


def test_a_mask_that_never_changes_has_densities_too() -> None:
    cost = {**RESULT["cost"], "trace": [{"step": 0, "num_kept": [4, 0]}]}
    html = Page(title="t", lead="", sections=(costs("r", {**RESULT, "cost": cost}),)).html()
    assert "Density of every layer" in html
    assert "<svg" in html


def test_without_sieve_and_changes_there_is_less() -> None:
    cost = {**RESULT["cost"], "trace": RESULT["cost"]["trace"][:1]}
    html = Page(title="t", lead="", sections=(costs("r", {**RESULT, "cost": cost, "sieve": None}),)).html()
    assert "<svg" not in html
    assert "After epoch" not in html


def test_the_plot_has_a_band_a_layer() -> None:
    svg = density_over_steps(RESULT["cost"])
    assert svg.startswith("<svg")
    assert "stem" in svg
    assert "optimizer steps" in svg
    many = [str(place) for place in range(plots.MOST_NAMES + 1)]
    svg = plots.bands(many, [0, 1], [[0.5] * len(many)], x_label="x", colour_label="y")
    assert "number of the layer" in svg
