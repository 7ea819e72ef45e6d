"""What counts as noise, and that the warning names the measure."""

from __future__ import annotations

from gossamer.bench.measure import Timing, Usage
from gossamer.bench.noise import Noise


def _timing(*, p50: float, p95: float, minimum: float) -> Timing:
    return Timing(p50=p50, p95=p95, minimum=minimum, cold_p50=p50, calls=1)


def test_a_quiet_machine_warns_of_nothing():
    noise = Noise.of({"a": _timing(p50=1, p95=1.2, minimum=0.9)}, Usage(wall=1, cpu=0.99), threads=1)
    assert noise.warnings() == []


def test_each_measure_is_named():
    timings = {"a": _timing(p50=1, p95=1.1, minimum=0.9), "b": _timing(p50=2, p95=4, minimum=1)}
    found = Noise.of(timings, Usage(wall=1, cpu=0.5), threads=1).warnings()
    assert [words in line for words, line in zip(("p95", "minimum", "50 %"), found, strict=True)] == [
        True
    ] * 3
    assert Noise.of(timings, Usage(wall=1, cpu=0.5), threads=2).taken is None
