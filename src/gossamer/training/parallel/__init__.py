"""Grow-and-prune on several workers: P-GaP. See `rounds.py` for what happens, `workers.py` for where."""

from gossamer.training.parallel.processes import LocalProcesses
from gossamer.training.parallel.ray_tasks import RayTasks
from gossamer.training.parallel.report import ParallelReport, TurnRow
from gossamer.training.parallel.rounds import Grown, RoundWatcher, grow_in_parallel
from gossamer.training.parallel.torch_ranks import Ranks
from gossamer.training.parallel.turn import Turn
from gossamer.training.parallel.workers import InTurn, Workers

__all__ = [
    "Grown",
    "InTurn",
    "LocalProcesses",
    "ParallelReport",
    "Ranks",
    "RayTasks",
    "RoundWatcher",
    "Turn",
    "TurnRow",
    "Workers",
    "grow_in_parallel",
]
