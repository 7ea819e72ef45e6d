"""Budgets at their edges, and how numbers with units are printed."""

import math

import numpy as np
import pytest

from gossamer.errors import BudgetError
from gossamer.units import Budget, checked_sparsity, show_bytes, show_macs, show_percent


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.2, "expected a fraction in \\[0, 1\\), got 1.2; for 90 % write 0.9"),
        (1, "got 1; for 90 % write 0.9"),
        (90, "got 90; for 90 % write 0.9"),
        (95.5, "got 95.5; for 95.5 % write 0.955"),
        (-0.1, "got -0.1"),
        (math.nan, "got nan"),
        (math.inf, "got inf"),
        ("0.9", "got the text '0.9'"),
        (True, "got True"),
        (None, "got None"),
    ],
)
def test_what_is_no_sparsity_is_refused(value, words):
    with pytest.raises(BudgetError, match=words):
        Budget.weights(value)


def test_sparsity_in_range():
    assert [checked_sparsity(value) for value in (0, 0.0, 0.5, 0.999999)] == [0.0, 0.0, 0.5, 0.999999]


def test_a_budget_has_a_target_and_a_peak():
    assert (Budget.weights(0.9).target, Budget.weights(0.9).peak) == (0.9, 0.9)
    assert str(Budget.weights(0.9, peak=0.75)) == "sparsity 90 % (at the peak 75 %)"
    assert str(Budget.macs(2e6, peak=3e6)) == "2 M MACs (4 M FLOPs) (at the peak 3 M MACs (6 M FLOPs))"
    with pytest.raises(BudgetError, match="the peak keeps more weights"):
        Budget.weights(0.8, peak=0.9)
    with pytest.raises(BudgetError, match="expected at least the target 100, got 50"):
        Budget.bytes(100, peak=50)
    with pytest.raises(BudgetError, match="peak sparsity: expected a fraction"):
        Budget.weights(0.8, peak=-1)


@pytest.mark.parametrize("unit", ["macs", "bytes", "milliseconds"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "2e9", True])
def test_a_cost_is_positive_and_finite(unit, value):
    with pytest.raises(BudgetError, match=f"budget in {unit}: expected a positive number"):
        getattr(Budget, unit)(value)


def test_no_way_around_the_rules():
    with pytest.raises(BudgetError, match="expected a fraction"):
        Budget(unit="weights", target=1.2, peak=0.5)
    assert Budget.weights(np.float32(0.5)) == Budget.weights(0.5)


@pytest.mark.parametrize(
    "number", [999.4, 999.9, 1000, 1023, 1023.9, 999.7 * 1024, 1023.99 * 2**20, 2000 * 2**30, 5e12]
)
def test_no_exponents(number):
    assert "e" not in show_bytes(number) + show_macs(number)


def test_printing():
    assert [show_percent(f) for f in (0, 0.5, 0.90625, 0.99999)] == ["0 %", "50 %", "90.62 %", "99.99 %"]
    assert [show_bytes(n) for n in (0, 999, 1023, 1024, 1 << 20, 3 << 30)] == [
        "0 B",
        "999 B",
        "1023 B",
        "1 KiB",
        "1 MiB",
        "3 GiB",
    ]
    assert show_macs(500) == "500 MACs (1 k FLOPs)"
