"""Learning rate as a pure function of the step. Where a method has stages, each that says so begins the curve anew, warmup included."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gossamer.recipes.schema import Rate
from gossamer.training.stages import Stage, rate_span


def factor_at(rate: Rate, step: float, num_steps: int) -> float:
    """Fraction of the peak rate for the update number `step` (0-based) out of `num_steps`; between two updates of full epochs where a
    sieve has shortened them.

    >>> [round(factor_at(Rate(kind="cosine", warmup=0.5), step, 4), 3) for step in range(4)]
    [0.5, 1.0, 0.854, 0.146]
    >>> [round(factor_at(Rate(kind="one_cycle", warmup=0.5), step, 4), 3) for step in range(4)]
    [0.5, 1.0, 0.854, 0.146]
    >>> factor_at(Rate(kind="constant", warmup=0.0), 0, 1), factor_at(Rate(kind="cosine", warmup=0.0), 0, 1)
    (1.0, 0.5)
    """
    warm = round(rate.warmup * num_steps)
    if step < warm:
        done = (step + 1) / warm
        return 0.5 * (1 - math.cos(math.pi * done)) if rate.kind == "one_cycle" else done
    if rate.kind == "constant":
        return 1.0
    done = (step - warm + 0.5) / (num_steps - warm)
    return 0.5 * (1 + math.cos(math.pi * done))


def staged_factor_at(rate: Rate, stages: Sequence[Stage], step: float, num_steps: int) -> float:
    """The same for a run in stages: `step` and `num_steps` are the run's.

    >>> stages = [Stage(name="a", steps=2), Stage(name="b", steps=2)]
    >>> [round(staged_factor_at(Rate(warmup=0.0), stages, step, 6), 3) for step in range(6)]
    [0.854, 0.146, 0.962, 0.691, 0.309, 0.038]
    """
    begin, length = rate_span(stages, step, num_steps)
    return factor_at(rate, step - begin, length)
