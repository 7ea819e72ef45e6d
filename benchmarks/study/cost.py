"""What a run will cost, in multiply-accumulates, from the method's schedule alone: so a budget becomes a number of steps.

A step on one example costs what `gossamer.training.cost` says of its kept weights, forward and backward. The unit is the *dense epoch*:
the same of the dense network, times the examples of one epoch. Kept weights are those of every single step, so growth phases and
dense beginnings are paid for, and the dense gradients that RigL grows by; not counted are norms, activations and the edits themselves.
After a run the same is measured by `gossamer.training.cost.CostMeter` from the masks that it really had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.patterns import parse_pattern
from gossamer.training import Protection
from gossamer.training.cost import LayerUse, profile_batch
from gossamer.training.foresight import counts_over_time
from gossamer.training.layers import choose, find_weights
from gossamer.training.methods import GaP, Method

Uses = Mapping[str, LayerUse]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Updates `begin` .. `end` - 1 train with these kept weights of the masked layers; the others are dense."""

    begin: int
    end: int
    counts: Mapping[str, int]
    dense_gradients: bool = False  # the last of these updates computes the gradients of all masked weights


def uses_of(model: nn.Module, input_shape: tuple[int, ...]) -> Uses:
    """How the model uses each of its weights, for an input [C, H, W]."""
    return profile_batch(model, lambda: model(torch.zeros(2, *input_shape)).sum(), examples=2).layers


def shapes_of(model: nn.Module, pattern: str, protect: Protection) -> dict[str, LayerShape]:
    """All weights that count, those that stay dense with the reason, as a Sparsifier takes them."""
    dense = choose(model, parse_pattern(pattern), protect, None).dense
    return {
        name: LayerShape(weight=tuple(slot.weight.shape), dense=dense[name][1] if name in dense else None)
        for name, slot in find_weights(model).items()
    }


def segments(method: Method | None, shapes: Mapping[str, LayerShape], num_steps: int) -> list[Segment]:
    """The kept weights of every step of a run of this method; nothing is trained.

    Workers of a parallel GaP cost what the stages of a cyclic one do: each of them has its own partition dense.
    """
    if method is None:
        return [Segment(begin=0, end=num_steps, counts={})]
    if isinstance(method, GaP):
        method = replace(method, order="cyclic")
    found: list[Segment] = []
    begin, kept = 0, {name: shape.numel for name, shape in shapes.items() if shape.dense is None}
    for step, counts in counts_over_time(method, shapes):
        if begin < step < num_steps:
            grows = any(
                edit.grow_by is not None and "gradient" in edit.grow_by.needs
                for edit in method.edits_at(step)
            )
            found.append(Segment(begin=begin, end=step, counts=kept, dense_gradients=grows))
            begin = step
        if step < num_steps:
            kept = dict(counts)
    return [*found, Segment(begin=begin, end=num_steps, counts=kept)]


def step_macs(uses: Uses, counts: Mapping[str, int], *, dense_gradients: bool = False) -> int:
    """One example, forward and backward; `dense_gradients`: those of the weights that `counts` names.

    >>> uses = {
    ...     "stem": LayerUse(size=36, positions=100, needs_dx=False, trains=True),
    ...     "fc": LayerUse(size=40, positions=1, needs_dx=True, trains=True),
    ... }
    >>> step_macs(uses, {}), step_macs(uses, {"fc": 5}), step_macs(uses, {"fc": 5}, dense_gradients=True)
    (7320, 7215, 7250)
    """
    total = sum(use.macs(counts.get(name, use.size)) for name, use in uses.items())
    if dense_gradients:
        total += sum(uses[name].positions * (uses[name].size - count) for name, count in counts.items())
    return round(total)


def macs(uses: Uses, parts: Iterable[Segment], batch_size: int) -> int:
    """All steps of a run together."""
    total = 0
    for part in parts:
        total += (part.end - part.begin) * step_macs(uses, part.counts)
        if part.dense_gradients:
            total += step_macs(uses, part.counts, dense_gradients=True) - step_macs(uses, part.counts)
    return total * batch_size


def longest(cost: Callable[[int], float], budget: float) -> int:
    """The largest number of steps whose cost is within the budget; cost(steps) grows with the steps, give or take a rounding.

    >>> longest(lambda steps: 0.5 * steps, 10.2)
    20
    >>> longest(lambda steps: 3.0 * steps, 2.0)
    Traceback (most recent call last):
    ValueError: expected a budget of at least one step (3), got 2
    """
    if cost(1) > budget:
        raise ValueError(f"expected a budget of at least one step ({cost(1):g}), got {budget:g}")
    high = 2
    while cost(high) <= budget:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return low
