"""What a training run costs, in multiply-accumulates, before it runs and after.

A step on one example costs, for every linear or convolution layer with k kept weights and p output positions,

    k p (forward) + k p (gradient of the input; not for the first layer) + k p (gradient of the weights)

and, at a step whose edit grows by dense gradients, n p instead of k p for the gradient of the weights, n being all weights of the layer.
The unit is the *dense epoch*: the same sum for the dense network, times the examples of one epoch. Norms, activations, the edits
themselves and the memory are not counted. Kept weights are those of each single step, so growth phases are paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.patterns import parse_pattern
from gossamer.training import Protection
from gossamer.training.counting import counts_at
from gossamer.training.edits import CountState, Edit, names_in
from gossamer.training.layers import choose, find_weights
from gossamer.training.methods import Method

Counts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Steps `begin` .. `end` - 1 (numbers of updates, from 0) train with these kept weights of the masked layers."""

    begin: int
    end: int
    counts: Counts
    dense_gradients: bool = False  # the last step of the segment computes the gradients of all weights


def layer_shapes(model: nn.Module, input_shape: tuple[int, ...], pattern: str) -> dict[str, LayerShape]:
    """Every weight that counts, with its output positions for an input [C, H, W]; the dense ones with the reason.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3, stride=2), nn.Flatten(), nn.Linear(32, 2))
    >>> [(shape.positions, shape.dense) for shape in layer_shapes(net, (1, 7, 7), "unstructured").values()]
    [(25, 'protected: first layer'), (4, None), (1, 'protected: last layer')]
    """
    slots = find_weights(model)
    positions: dict[str, int] = {}

    def note(name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        return lambda module, inputs, output: positions.update({name: output[0, 0].numel()})

    hooks = [slot.module.register_forward_hook(note(name)) for name, slot in slots.items()]
    was_training = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, *input_shape))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    dense = choose(model, parse_pattern(pattern), Protection(), None).dense
    return {
        name: LayerShape(
            weight=tuple(slot.weight.shape),
            positions=positions[name],
            dense=dense[name][1] if name in dense else None,
        )
        for name, slot in slots.items()
    }


def step_macs(shapes: Mapping[str, LayerShape], counts: Counts, *, dense_gradients: bool = False) -> int:
    """One example, forward and backward; layers that `counts` does not name are dense.

    >>> shapes = {"stem": LayerShape(weight=(4, 1, 3, 3), positions=100, dense="first"), "fc": LayerShape(weight=(10, 4))}
    >>> step_macs(shapes, {}), step_macs(shapes, {"fc": 5}), step_macs(shapes, {"fc": 5}, dense_gradients=True)
    (7320, 7215, 7250)
    """
    total = 0
    for place, (name, shape) in enumerate(shapes.items()):
        kept = counts.get(name, shape.numel)
        of_weights = shape.numel if dense_gradients else kept
        total += shape.positions * (kept + (kept if place else 0) + of_weights)
    return total


def segments(method: Method | None, shapes: Mapping[str, LayerShape], num_steps: int) -> list[Segment]:
    """The kept weights of every step, from the method's schedule alone; nothing is trained."""
    if method is None:
        return [Segment(begin=0, end=num_steps, counts={})]
    found: list[Segment] = []
    kept: Counts = {name: shape.numel for name, shape in shapes.items() if shape.dense is None}
    begin = 0
    for step in range(num_steps):
        edits = method.edits_at(step)
        if not edits:
            continue
        if step > begin:
            grows = any(edit.grow_by is not None and "gradient" in edit.grow_by.needs for edit in edits)
            found.append(Segment(begin=begin, end=step, counts=kept, dense_gradients=grows))
        for edit in edits:
            kept = _after(edit, kept, method, shapes)
        begin = step
    return [*found, Segment(begin=begin, end=num_steps, counts=kept)]


def _after(edit: Edit, kept: Counts, method: Method, shapes: Mapping[str, LayerShape]) -> Counts:
    pattern = parse_pattern(method.pattern)
    scope = names_in(edit.scope, shapes)

    def allocate(sparsity: float | None, how: str | None = None) -> Counts:
        return counts_at(sparsity, how or method.allocation, pattern, shapes, dict)

    legal = {name: pattern.counts(shapes[name].matrix) for name in kept}
    state = CountState(num_kept=kept, legal=legal, allocate=allocate, rank=_no_ranking, scope=scope)
    low = edit.drop_to(state) if edit.drop_to is not None else kept
    high = edit.grow_to(state) if edit.grow_to is not None else {}
    return {
        name: max(min(count, low[name]), high.get(name, 0)) if name in scope else count
        for name, count in kept.items()
    }


def _no_ranking(names: Sequence[str], total: int) -> Counts:
    raise ValueError(
        "the cost of a method that ranks weights over layers is not known before it runs; use uniform or erk"
    )


def macs(shapes: Mapping[str, LayerShape], parts: Iterable[Segment], batch_size: int) -> int:
    """All steps of a run together."""
    total = 0
    for part in parts:
        total += (part.end - part.begin) * step_macs(shapes, part.counts)
        if part.dense_gradients:
            total += step_macs(shapes, part.counts, dense_gradients=True) - step_macs(shapes, part.counts)
    return total * batch_size


def peak_density(shapes: Mapping[str, LayerShape], parts: Iterable[Segment]) -> float:
    """The largest part of all weights that is kept at any step."""
    size = sum(shape.numel for shape in shapes.values())
    return max(sum(part.counts.get(name, shapes[name].numel) for name in shapes) for part in parts) / size


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
