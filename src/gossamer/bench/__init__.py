"""Engines side by side on this machine: latency, memory, size and accuracy of a packed network and of its
dense twin."""

from gossamer.bench.result import BenchResult, EngineResult
from gossamer.bench.run import DEFAULT_ENGINES, Settings, Variant, compare, run

__all__ = ["DEFAULT_ENGINES", "BenchResult", "EngineResult", "Settings", "Variant", "compare", "run"]
