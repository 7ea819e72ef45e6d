"""The order in which engines are called, and what is made of the times."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from itertools import pairwise, permutations

import pytest

from gossamer.bench.measure import Timing, _order, interleave, pinned


def test_engines_take_turns_and_the_order_rotates():
    order: list[str] = []

    def call(name):
        def note():
            if not order or order[-1] != name:
                order.append(name)

        return note

    interleave({name: call(name) for name in "abc"}, rounds=3, burst_ms=0.001)
    # abc bca cab after the three calibrations; equal neighbours merge
    assert "".join(order) == "abc" + "abcbcacab"


def test_first_call_of_a_burst_is_counted_apart():
    timings = interleave({"a": lambda: None}, rounds=4, burst_ms=0.001)
    assert timings["a"].calls == 4 * 2  # bursts of three calls, one of them cold
    assert 0 < timings["a"].minimum <= timings["a"].p50 <= timings["a"].p95


def test_percentiles_by_hand():
    timing = Timing.of([4.0, 1.0, 3.0, 2.0, 5.0], cold=[9.0, 7.0, 8.0])
    assert (timing.p50, timing.minimum, timing.cold_p50, timing.calls) == (3.0, 1.0, 8.0, 5)
    assert timing.p95 == pytest.approx(4.8)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin processes")
def test_pinned_restores_the_cpus():
    before = os.sched_getaffinity(0)
    with pinned(1) as cpus:
        assert os.sched_getaffinity(0) == set(cpus)
        assert len(cpus) == 1
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin processes")
def test_threads_that_exist_already_are_pinned_too():
    before = os.sched_getaffinity(0)
    stop, ids = threading.Event(), []

    def work():
        ids.append(threading.get_native_id())
        stop.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while not ids:
            time.sleep(0.001)
        with pinned(1) as cpus:
            assert os.sched_getaffinity(ids[0]) == set(cpus)
        assert os.sched_getaffinity(ids[0]) == before
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_every_engine_follows_every_other_one_equally_often(count):
    names = list("abcde")[:count]
    rounds = [_order(names, index) for index in range(2 * count)]
    assert all(sorted(turns) == names for turns in rounds)
    follows = Counter(pair for turns in rounds for pair in pairwise(turns))
    assert follows == dict.fromkeys(permutations(names, 2), 2)
