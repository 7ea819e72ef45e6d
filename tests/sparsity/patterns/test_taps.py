"""The table of tap sets, filter sizes, 1x1 convolutions, and the sparsities that exist."""

import itertools

import pytest
import torch

from gossamer.errors import BudgetError, PatternError
from gossamer.formats import for_pattern
from gossamer.sparsity.allocation import allocate
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.patterns import parse_pattern
from gossamer.sparsity.view import as_matrix
from gossamer.units import Budget

TAPS = parse_pattern("taps:4")
CENTRE = (1, 1)
# By hand: (row, column) of the kept taps.
SETS = {
    frozenset({(1, 1), (1, 2), (2, 1), (2, 2)}),
    frozenset({(1, 0), (1, 1), (2, 0), (2, 1)}),
    frozenset({(0, 1), (0, 2), (1, 1), (1, 2)}),
    frozenset({(0, 0), (0, 1), (1, 0), (1, 1)}),
    frozenset({(1, 0), (1, 1), (1, 2), (2, 1)}),
    frozenset({(0, 1), (1, 1), (1, 2), (2, 1)}),
    frozenset({(0, 1), (1, 0), (1, 1), (2, 1)}),
}


def test_exactly_the_seven_sets_are_legal():
    taps = list(itertools.product(range(3), range(3)))
    legal = set()
    for chosen in itertools.chain.from_iterable(itertools.combinations(taps, n) for n in range(1, 10)):
        weight = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
        for row, column in chosen:
            weight[0, 0, row, column] = True
        try:
            TAPS.check(as_matrix(weight))
        except PatternError:
            continue
        legal.add(frozenset(chosen))
    assert legal == SETS
    assert all(CENTRE in chosen for chosen in legal)


def test_a_slice_is_one_output_and_one_input_channel():
    """Filters of three channels: the columns of a slice are not neighbours."""
    weight = torch.zeros(2, 3, 3, 3)
    weight[0, 2, 1:, 1:] = 1.0  # the lower right corner of the slice (0, 2)
    weight[1, 0, :2, :2] = 1.0
    mask = TAPS.mask(as_matrix(weight), 8)
    assert torch.equal(mask, as_matrix(weight) == 1)
    TAPS.check(mask)


def test_filters_keep_equally_many_slices():
    weight = torch.rand(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[0] += 10  # all the score is in one filter
    mask = TAPS.mask(as_matrix(weight), 16)
    assert mask.sum(dim=1).tolist() == [8, 8]
    mask[1] = (
        mask[0].reshape(9, 3).roll(1, dims=1).flatten()
    )  # other channels, still legal; then one slice less
    TAPS.check(mask)
    mask[1] = False
    with pytest.raises(
        PatternError, match=r"equally many filter slices in every row, 2 as in the first, got 0 in row 1"
    ):
        TAPS.check(mask)


def test_1x1_convolutions_and_linear_layers_have_connectivity_only():
    for weight in ((4, 6, 1, 1), (4, 6)):
        pattern = TAPS.for_weight(weight)
        assert pattern.counts((4, 6)) == range(0, 25, 4)
        scores = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
        mask = pattern.mask(scores, 8)
        assert torch.equal(mask, scores >= scores.topk(2, dim=1).values[:, 1:])
        pattern.check(mask)
        positions = mask.flatten().nonzero().flatten()
        stays = pattern.select(positions, scores.flatten()[positions], (4, 6), 4)
        assert positions[stays].tolist() == (scores.argmax(dim=1) + 6 * torch.arange(4)).tolist()
        drawn = pattern.draw(positions, (4, 6), 16, torch.Generator().manual_seed(0))
        mask.view(-1)[drawn] = True
        assert mask.sum(dim=1).tolist() == [4] * 4
    assert str(pattern) == "taps:4"


@pytest.mark.parametrize("weight", [(8, 4, 5, 5), (8, 4, 3), (8, 4, 1, 3), (8, 4, 3, 3, 3)])
def test_other_filters_are_refused(weight):
    with pytest.raises(
        PatternError, match=r"taps:4 needs filters of 3x3 taps, or of 1x1: expected 3x3, got "
    ):
        TAPS.for_weight(weight)
    layers = {"a": LayerShape(weight=weight), "b": LayerShape(weight=(64, 64, 3, 3))}
    assert (
        allocate(layers, Budget.weights(0.8), "uniform", TAPS).dense["a"].startswith("taps:4 needs filters")
    )


def test_a_sparsity_below_five_ninths_is_refused():
    layers = {"conv": LayerShape(weight=(8, 9, 3, 3)), "other": LayerShape(weight=(8, 9, 3, 3))}
    assert allocate(layers, Budget.weights(5 / 9), "uniform", TAPS).counts == {"conv": 288, "other": 288}
    with pytest.raises(
        BudgetError,
        match=r"at least 55.56 %, got 50 %: taps:4 keeps at most 4/9 of the weights of conv and 1 other",
    ):
        allocate(layers, Budget.weights(0.5), "uniform", TAPS)


def test_what_one_layer_cannot_keep_goes_to_others_under_erk():
    """ERK wants 18.9 % of the large layer and 85 % of the small one, which keeps no more than 4/9; the large one has the rest."""
    layers = {"small": LayerShape(weight=(9, 9, 3, 3)), "large": LayerShape(weight=(90, 90, 3, 3))}
    counts = allocate(layers, Budget.weights(0.8), "erk", TAPS).counts
    assert counts["small"] == 324  # 4/9 of 729
    assert counts["small"] + counts["large"] == pytest.approx(0.2 * 73629, abs=180)


def test_it_is_stored_as_unstructured():
    assert for_pattern("taps:4") == ("unstructured", {})
