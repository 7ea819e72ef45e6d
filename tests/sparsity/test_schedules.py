"""Schedules at their boundaries (values by hand) and the refusals."""

import pytest

from gossamer.errors import MethodError
from gossamer.sparsity.schedules import constant, cosine, cubic, linear, periodic, piecewise


@pytest.mark.parametrize("make", [linear, cosine, cubic])
def test_ramps_hit_their_ends_exactly(make):
    schedule = make(0.1, 0.7, begin=5, end=9)
    assert [schedule(step) for step in (-1, 0, 5)] == [0.1] * 3
    assert [schedule(step) for step in (9, 10, 10**9)] == [0.7] * 3
    between = [schedule(step) for step in range(5, 10)]
    assert between == sorted(between)
    assert make(0.1, 0.7, begin=5, end=5)(4) == 0.1
    assert make(0.1, 0.7, begin=5, end=5)(5) == 0.7


def test_midpoints():
    assert linear(1.0, 0.0, end=4)(1) == 0.75
    assert cosine(1.0, 0.0, end=4)(2) == pytest.approx(0.5)
    assert cubic(0.0, 0.8, end=2)(1) == pytest.approx(0.8 * 7 / 8)
    assert constant(3.0)(7) == 3.0


def test_piecewise_and_periodic():
    assert [piecewise([1.0], [])(step) for step in (0, 5)] == [1.0, 1.0]
    assert [periodic(piecewise([1.0, 0.0], [1]), period=2)(step) for step in range(4)] == [1.0, 0.0, 1.0, 0.0]


def test_refusals():
    with pytest.raises(MethodError, match="end at or after begin, got begin 5 and end 4"):
        linear(0, 1, begin=5, end=4)
    with pytest.raises(MethodError, match="got 2 values and boundaries"):
        piecewise([0.1, 0.2], [1, 2])
    with pytest.raises(MethodError, match="ascending"):
        piecewise([0.1, 0.2, 0.3], [2, 1])
    with pytest.raises(MethodError, match="at least 1 step, got 0"):
        periodic(constant(1.0), period=0)
