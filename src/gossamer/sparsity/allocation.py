"""Allocation: one budget for the whole network becomes one legal integer count for every layer.

The sparsity of a network is the fraction of zeros over all weights of its linear and convolution layers, protected ones included: layers
that stay dense count, so the others give more. An allocation says how many weights each prunable layer *should* keep (real numbers);
`allocate` makes them legal in the pattern and hands out what rounding left over by largest remainder, so that the total is the legal one
nearest to the request. Every prunable layer keeps at least one unit, because a layer without weights cuts the network in two.

Requests in MACs or bytes are met by the largest total of weights, under the same allocation, whose cost is within the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from heapq import heapify, heappop, heappush
from operator import mul
from typing import Protocol

import torch
from torch import Tensor

from gossamer.errors import BudgetError, PatternError
from gossamer.sparsity.costs import LayerShape, bytes_packed, macs
from gossamer.sparsity.patterns import Pattern
from gossamer.sparsity.view import matrix_shape
from gossamer.units import Budget, show_percent

Layers = Mapping[str, LayerShape]


class Allocation(Protocol):
    """How many weights each of the prunable layers should keep, `num_kept` in all; legal rounding comes after it."""

    def __call__(self, layers: Layers, num_kept: int, pattern: Pattern) -> Mapping[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Granted:
    """The outcome: what each layer keeps, and how near that is to the request."""

    counts: Mapping[str, int]  # num_kept of every layer, those left dense included
    dense: Mapping[str, str]  # layers left dense, with the reason
    requested: Budget | None
    num_kept: int
    numel: int

    @property
    def sparsity(self) -> float:
        """Granted zeros over all weights of all layers."""
        return 1 - self.num_kept / self.numel

    def __str__(self) -> str:
        asked = "the pattern's own sparsity" if self.requested is None else str(self.requested)
        return (
            f"requested {asked}, granted sparsity {show_percent(self.sparsity)} "
            f"({self.num_kept} of {self.numel} weights kept, {len(self.dense)} of {len(self.counts)} layers dense)"
        )


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a pattern allows of a network: the same for every budget, so that who asks for many finds it once.

    >>> from gossamer.sparsity.patterns import parse_pattern
    >>> layers = {"a": LayerShape(weight=(8, 2, 3, 3), dense="first layer"), "b": LayerShape(weight=(8, 8, 3, 3))}
    >>> [round(Room.of(layers, parse_pattern(text)).least_sparsity, 4) for text in ("taps:4", "gs:8,1")]
    [0.4444, 0.0]
    """

    dense: Mapping[str, str]  # layers left dense, with the reason
    ranges: Mapping[str, range]  # legal counts of the others
    own: Mapping[str, int]  # their counts in a pattern that fixes its own sparsity
    numel: int  # of all layers
    fixed: int  # of those left dense
    least_sparsity: float  # of the network: 0, but where the pattern never keeps a whole layer

    @classmethod
    def of(cls, layers: Layers, pattern: Pattern) -> Room:
        dense: dict[str, str] = {}
        ranges: dict[str, range] = {}
        own: dict[str, int] = {}
        for name, layer in layers.items():
            if layer.dense is not None:
                dense[name] = layer.dense
                continue
            try:
                here = pattern.for_weight(layer.weight)
                ranges[name] = here.counts(layer.matrix)
            except PatternError as error:
                dense[name] = str(error)
                continue
            target = here.target(layer.matrix)
            if target is not None:
                own[name] = target
        numel = sum(layer.numel for layer in layers.values())
        prunable = sum(layers[name].numel for name in ranges)
        return cls(
            dense=dense,
            ranges=ranges,
            own=own,
            numel=numel,
            fixed=numel - prunable,
            least_sparsity=(prunable - sum(r[-1] for r in ranges.values())) / numel if numel else 0.0,
        )


def allocate(
    layers: Layers, budget: Budget | None, how: str | Allocation, pattern: Pattern, room: Room | None = None
) -> Granted:
    """Legal counts for a budget; BudgetError, with the range that can be reached, where there are none.

    A layer on which the pattern cannot live is left dense with the pattern's sentence as the reason. A pattern that fixes its own sparsity
    (N:M) takes None or a budget that asks for exactly that sparsity of the prunable layers. `room` is `Room.of(layers, pattern)`, where
    it is known already.

    >>> from gossamer.sparsity.patterns import parse_pattern
    >>> layers = {"a": LayerShape(weight=(8, 30), dense="first layer"), "b": LayerShape(weight=(32, 64))}
    >>> granted = allocate(layers, Budget.weights(0.8), "uniform", parse_pattern("gs:8,1"))
    >>> print(granted)
    requested sparsity 80 %, granted sparsity 80.07 % (456 of 2288 weights kept, 1 of 2 layers dense)
    >>> dict(granted.counts), dict(granted.dense)
    ({'a': 240, 'b': 216}, {'a': 'first layer'})
    """
    if budget is not None and not isinstance(budget, Budget):
        raise BudgetError(f"expected a budget such as Budget.weights(0.9), got {budget!r}")
    if isinstance(pattern, str):
        raise PatternError(
            f"expected a pattern, got the string {pattern!r}; write parse_pattern({pattern!r})"
        )
    if not layers:
        raise BudgetError("expected at least one linear or convolution layer, got none")
    room = room or Room.of(layers, pattern)
    dense, ranges, numel, fixed = room.dense, room.ranges, room.numel, room.fixed
    if not ranges:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(dense.items())[:3])
        raise BudgetError(f"expected at least one layer that {pattern} can prune, got none ({reasons})")

    def granted(counts: Mapping[str, int]) -> Granted:
        all_counts = {name: counts.get(name, layer.numel) for name, layer in layers.items()}
        return Granted(
            counts=all_counts, dense=dense, requested=budget, num_kept=sum(all_counts.values()), numel=numel
        )

    if room.own:
        _check_own_sparsity(budget, pattern, 1 - sum(room.own.values()) / (numel - fixed))
        return granted(room.own)
    if budget is None:
        raise BudgetError(
            f"expected a budget for pattern {pattern}, which does not fix its own sparsity, got None; for instance 0.9"
        )
    rule = _named(how)
    prunable = {name: layers[name] for name in ranges}

    def at(num_kept: float) -> Mapping[str, int]:
        return _round(ranges, rule(prunable, round(num_kept), pattern), num_kept)

    fewest, most = sum(r.step for r in ranges.values()), sum(r[-1] for r in ranges.values())
    if budget.unit == "weights":
        wanted = numel * (1 - budget.target) - fixed
        unit = max(r.step for r in ranges.values())
        if wanted < fewest - unit / 2:
            raise BudgetError(
                f"expected a sparsity between 0 % and {show_percent(1 - (fewest + fixed) / numel)}, got {show_percent(budget.target)}: "
                f"the {len(dense)} layers left dense hold {show_percent(fixed / numel)} of the weights and every other layer keeps at "
                f"least one unit of {pattern}; lower the sparsity or protect fewer layers"
            )
        if wanted > most + unit / 2:
            capped = [name for name, r in ranges.items() if r[-1] < layers[name].numel]
            share = Fraction(ranges[capped[0]][-1], layers[capped[0]].numel)
            raise BudgetError(
                f"expected a sparsity of at least {show_percent(1 - (most + fixed) / numel)}, got {show_percent(budget.target)}: {pattern} "
                f"keeps at most {share} of the weights of {capped[0]} and {len(capped) - 1} other layers; raise the sparsity, protect "
                "layers or choose another pattern"
            )
        return granted(at(min(max(wanted, fewest), most)))
    cost = _cost_of(budget, layers, pattern)
    if cost(granted(at(fewest)).counts) > budget.target:
        least, all_dense = (
            cost(granted(at(fewest)).counts),
            cost({name: layer.numel for name, layer in layers.items()}),
        )
        raise BudgetError(
            f"expected a budget between {Budget(unit=budget.unit, target=least, peak=least)} and "
            f"{Budget(unit=budget.unit, target=all_dense, peak=all_dense)}, got {budget}"
        )
    low, high = fewest, most  # the cost at low is within the target; find the largest such total
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(granted(at(middle)).counts) <= budget.target else (low, middle - 1)
    return granted(at(low))


def uniform(layers: Layers, num_kept: int, pattern: Pattern) -> Mapping[str, float]:
    """The same density everywhere.

    >>> from gossamer.sparsity.patterns import Unstructured
    >>> uniform({"a": LayerShape(weight=(10, 10)), "b": LayerShape(weight=(10, 30))}, 40, Unstructured())
    {'a': 10.0, 'b': 30.0}
    """
    density = num_kept / sum(layer.numel for layer in layers.values())
    return {name: density * layer.numel for name, layer in layers.items()}


def erk(layers: Layers, num_kept: int, pattern: Pattern) -> Mapping[str, float]:
    """Erdős-Rényi-kernel: density proportional to (outputs + inputs + k1 + …) / (outputs x inputs x k1 x …), so small layers keep more.

    What exceeds the most that the pattern keeps of a layer (mostly all of it) is set to that, and the factor is
    solved again for the rest. Paper: Rigging the Lottery, ICML 2020.

    >>> from gossamer.sparsity.patterns import Unstructured
    >>> layers = {"a": LayerShape(weight=(10, 10)), "b": LayerShape(weight=(100, 100))}
    >>> erk(layers, 110, Unstructured()), erk(layers, 2100, Unstructured())  # the second: "a" is full, "b" has the rest
    ({'a': 10.0, 'b': 100.0}, {'a': 100.0, 'b': 2000.0})
    """
    shares = {name: float(sum(layer.weight)) for name, layer in layers.items()}  # density times size
    most = {name: _most(pattern, layer.weight) for name, layer in layers.items()}
    full: set[str] = set()
    while True:
        rest = num_kept - sum(most[name] for name in full)
        total = sum(share for name, share in shares.items() if name not in full)
        factor = rest / total if total else 0.0
        over = {name for name, share in shares.items() if name not in full and factor * share > most[name]}
        if not over:
            return {
                name: float(most[name]) if name in full else factor * share for name, share in shares.items()
            }
        full |= over


@lru_cache(maxsize=4096)
def _most(pattern: Pattern, weight: tuple[int, ...]) -> int:
    return pattern.for_weight(weight).counts(matrix_shape(weight))[-1]


def global_rank(scores: Mapping[str, Tensor]) -> Allocation:
    """One ranking over all layers: the units with the largest gain anywhere are kept.

    `scores` are matrices [R, C] as for `pattern.mask`. Unstructured entries, blocks, windows and horizontal gather-scatter bundles are
    ranked exactly, the other gather-scatter bundles by an upper bound (`Pattern.gains`). Scores must be comparable across layers;
    magnitudes of layers with different scales are not, which is this rule's known weakness. Equals go to the earlier layer.
    """

    rankings: dict[
        tuple[tuple[str, ...], Pattern], Tensor
    ] = {}  # sorted once, however often a search over totals asks

    def rank(layers: Layers, num_kept: int, pattern: Pattern) -> Mapping[str, float]:
        missing = [name for name in layers if name not in scores]
        if missing:
            raise BudgetError(
                f"global_rank: expected scores of every prunable layer, got none for {', '.join(missing)}"
            )
        key = (tuple(layers), pattern)
        if key not in rankings:
            for name, layer in layers.items():
                _check_scores(name, scores[name], layer.matrix)
            rankings[key] = _ranking(
                [pattern.for_weight(layer.weight).gains(scores[name]) for name, layer in layers.items()]
            )
        units = [pattern.for_weight(layer.weight).counts(layer.matrix).step for layer in layers.values()]
        room = max(round(num_kept / max(units)) - len(layers), 0)
        chosen = torch.bincount(rankings[key][:room], minlength=len(layers)).tolist()
        return {
            name: float(unit * (1 + more)) for name, unit, more in zip(layers, units, chosen, strict=True)
        }

    return rank


ALLOCATIONS: dict[str, Allocation] = {"uniform": uniform, "erk": erk}


def _ranking(gains: list[Tensor]) -> Tensor:
    """The layers that own the units, by falling gain; without each layer's best unit, which it keeps in any case."""
    owners = torch.cat([torch.full((len(gain) - 1,), layer) for layer, gain in enumerate(gains)])
    return owners[torch.cat([gain[1:].cpu() for gain in gains]).argsort(descending=True, stable=True)]


def _check_scores(name: str, scores: Tensor, matrix: tuple[int, int]) -> None:
    if tuple(scores.shape) != matrix or not scores.is_floating_point():
        raise BudgetError(
            f"global_rank: expected floating-point scores {list(matrix)} of {name}, got {scores.dtype} {list(scores.shape)}"
        )
    if bool(torch.isnan(scores).any()):
        raise BudgetError(
            f"global_rank: expected scores without NaN, got {int(torch.isnan(scores).sum())} NaN for {name}"
        )


def _named(how: str | Allocation) -> Allocation:
    if callable(how):
        return how
    if how == "global_rank":
        raise BudgetError("global_rank ranks scores: expected global_rank(scores), got only its name")
    if how not in ALLOCATIONS:
        raise BudgetError(
            f"expected an allocation of {', '.join(ALLOCATIONS)} or global_rank(scores), got {how!r}"
        )
    return ALLOCATIONS[how]


def _round(ranges: Mapping[str, range], wanted: Mapping[str, float], num_kept: float) -> dict[str, int]:
    """Legal counts near `wanted` whose total is as near as possible to `num_kept`: whole units, then largest remainders."""
    steps, most = [r.step for r in ranges.values()], [len(r) - 1 for r in ranges.values()]
    shares = [wanted[name] / r.step for name, r in ranges.items()]
    units = [min(max(int(wanted[name] // r.step), 1), len(r) - 1) for name, r in ranges.items()]
    total = sum(map(mul, units, steps))
    while True:
        sign = 1 if num_kept > total else -1  # one unit more, or one unit less
        queue = [
            (sign * (units[i] - share), i)
            for i, share in enumerate(shares)
            if (units[i] < most[i] if sign > 0 else units[i] > 1)
        ]
        heapify(queue)
        moved = False
        while queue and sign * (num_kept - total) > 0:
            _, i = heappop(queue)
            if steps[i] >= 2 * sign * (num_kept - total):
                continue  # would lead away from the total, and will from now on
            units[i] += sign
            total += sign * steps[i]
            moved = True
            if units[i] < most[i] if sign > 0 else units[i] > 1:
                heappush(queue, (sign * (units[i] - shares[i]), i))
        if not moved:
            return {name: unit * step for name, unit, step in zip(ranges, units, steps, strict=True)}


def _check_own_sparsity(budget: Budget | None, pattern: Pattern, own: float) -> None:
    if budget is None:
        return
    if budget.unit != "weights" or abs(budget.target - own) > 1e-6:
        raise BudgetError(
            f"pattern {pattern} fixes the sparsity of the layers it prunes: expected {own:g} or no sparsity at all, got {budget}; "
            f"for another sparsity choose another N:M or pattern"
        )


def _cost_of(budget: Budget, layers: Layers, pattern: Pattern) -> Callable[[Mapping[str, int]], float]:
    if budget.unit == "macs":
        return lambda counts: float(sum(macs(layers[name], count) for name, count in counts.items()))
    if budget.unit == "bytes":
        return lambda counts: sum(
            bytes_packed(layers[name], count, pattern) for name, count in counts.items()
        )
    raise BudgetError(
        f"expected a budget of weights, macs or bytes, got {budget}: milliseconds need a table measured on the device"
    )
