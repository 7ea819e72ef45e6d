"""One training step of a network, engine by engine: time, memory of the tensors, peak of a fresh process."""

from gossamer.bench.training.engines import ENGINES, METHODS
from gossamer.bench.training.networks import MODELS, Network, network
from gossamer.bench.training.run import Plan, measure

__all__ = ["ENGINES", "METHODS", "MODELS", "Network", "Plan", "measure", "network"]
