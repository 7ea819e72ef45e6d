"""MEST, memory-economic sparse training: exchange at random what is small and does not move, within a hard or a soft memory bound.

    score    |w| + lambda |dL/dw|, of active weights, with the gradient of the same step
    EM       every Delta T: drop to sparsity s + p, grow to s                        never above the target
    EM&S     begin at s - p0; every Delta T: drop to s, grow to s - p; at the end drop to s
             new weights train Delta T steps before they compete, and nothing is lost before
    grow     uniformly at random among the absent units, at value 0

p decays from p0 to 0 in units of sparsity of the network. No gradient of an absent weight is ever needed, so a compact layer can train
this way in the memory of its peak, 1 - s (EM) or 1 - s + p0 (EM&S).

Paper: MEST: Accurate and Fast Memory-Economic Sparse Training Framework on the Edge, NeurIPS 2021. decay="constant" with kind="em" is
its vanilla form. Deviations: counts are exact and legal in the pattern, at an allocation of the whole network (released code: percentiles
layer by layer); sparsity is always overall sparsity (released code converts pattern ratios twice); masks are edited between backward and
zero_grad, so the gradient term acts (released code: gradients are zero by then); no edit before the first step; optimizer state of grown
weights starts at zero. What was grown and got no gradient is still zero, and is dropped first.
"""

import math
from dataclasses import dataclass

from gossamer.errors import BudgetError, MethodError
from gossamer.sparsity.criteria import CRITERIA, Criterion, MagnitudeGradient
from gossamer.sparsity.growth import GROWTH, Random
from gossamer.sparsity.patterns import NOfM, Taps, parse_pattern
from gossamer.sparsity.schedules import Schedule, constant, cosine, linear, piecewise
from gossamer.training.edits import AtSparsity, Counts, Edit
from gossamer.training.methods.method import Steps, check_flags, check_settings, check_steps, final_sparsity
from gossamer.training.methods.mutation import Above, AboveInBytes, Below, Target

DECAYS = ("piecewise", "cosine", "linear", "constant")


@dataclass(frozen=True, kw_only=True)
class MEST:
    """Elastic mutation under a hard (em) or soft (em&s) bound, every `every` steps until `stop`.

    >>> method = MEST(sparsity=0.9, kind="em&s", every=100, stop=1000)
    >>> [len(method.edits_at(step)) for step in (0, 99, 100, 999, 1000, 1001)]  # at 0: random masks; at 1000: the last drop
    [1, 0, 1, 0, 1, 0]
    >>> [round(method.mutation_at(step), 4) for step in (0, 700, 800, 1000)]
    [0.05, 0.05, 0.025, 0.0]
    >>> MEST(sparsity=0.9).edits_at(0) == MEST(sparsity=0.9, mutation=0.0).edits_at(0)  # em begins at the target
    True
    """

    sparsity: float | None = (
        None  # s, of the whole network in the end; None for a pattern that fixes it (N:M)
    )
    pattern: str = "unstructured"
    allocation: str = "erk"  # uniform, erk: applied anew at every sparsity that is passed
    kind: str = "em"  # em: never above the target; em&s: trains above it, up to the peak
    mutation: float | None = (
        None  # p0, a part of all weights; None: 0.05, for em at most a fifth of those kept; or as peak_bytes says
    )
    decay: str = (
        "piecewise"  # of p: piecewise (p0, from 3/4 of stop p0 / 2, from stop 0), cosine, linear, constant
    )
    gradient_weight: float = (
        1.0  # lambda, in units of weight per gradient; 0: magnitude alone, no gradient is read
    )
    every: Steps = 100  # Delta T, steps between edits
    stop: Steps = 10_000  # em: no edit at or after this step; em&s: the last drop is exactly here
    initial: str = "random"  # random, magnitude
    exclude_dropped: bool = False  # growth takes what the edit has just dropped only if nothing else is left
    peak_bytes: int | None = None  # em&s: instead of mutation, bytes of compact weights at the peak
    states: int = (
        1  # with peak_bytes: optimizer tensors a weight; 0 SGD, 1 momentum, 5 Adam (2 moments; births)
    )

    def __post_init__(self) -> None:
        pattern = check_settings(self)
        check_steps(self, every=self.every, stop=self.stop)
        check_flags("MEST", exclude_dropped=self.exclude_dropped)
        for name, value, known in (
            ("kind", self.kind, ("em", "em&s")),
            ("decay", self.decay, DECAYS),
            ("initial", self.initial, ("random", "magnitude")),
        ):
            if value not in known:
                raise MethodError(f"MEST: expected {name} to be one of {', '.join(known)}, got {value!r}")
        if self.allocation == "global_rank":
            raise MethodError(
                "MEST gives every layer its count before it knows scores: expected allocation uniform or erk, got global_rank"
            )
        _check_number("gradient_weight", self.gradient_weight)
        if self.peak_bytes is not None:
            self._check_bytes()
        _check_number("mutation", self.mutation if self.mutation is not None else 0.0)
        if self.kind == "em&s" and self.stop < 1:
            raise MethodError(
                "MEST: em&s drops to its target at stop: expected stop at step 1 or later, got 0"
            )
        if isinstance(pattern, NOfM) and self.peak_bytes is None:
            self._check_levels(pattern)
        self._check_room()

    @property
    def criterion(self) -> str:
        return "magnitude_gradient" if self.gradient_weight else "magnitude"

    @property
    def peak_sparsity(self) -> float | None:
        """The lowest sparsity of training; None where peak_bytes decides."""
        if self.peak_bytes is not None:
            return None
        return self._target.number - (self._first if self.kind == "em&s" else 0.0)

    @property
    def last_edit(self) -> int:
        if not self._mutates:
            return 0
        if self.kind == "em&s":
            return self.stop
        return max(0, (self.stop - 1) // self.every * self.every)

    @property
    def grows(self) -> bool:
        return True

    def mutation_at(self, step: int) -> float:
        """p after this many steps; with peak_bytes in parts of the p0 that the network gives."""
        first = 1.0 if self.peak_bytes is not None else self._first
        return first * (0.0 if step >= self.stop else self._decay(step))

    def edit_steps(self) -> tuple[int, ...]:
        return (*range(0, self.last_edit, self.every), self.last_edit)

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        if step == 0:
            start = (
                self._above(0) if self.kind == "em&s" and self._mutates else AtSparsity(self._target.sparsity)
            )
            return (
                Edit(drop_to=start, drop_by=Random() if self.initial == "random" else CRITERIA["magnitude"]),
            )
        if not self._mutates or step > self.last_edit or (step % self.every and step != self.last_edit):
            return ()
        target = AtSparsity(self._target.sparsity)
        if self.kind == "em&s" and step == self.stop:
            return (Edit(drop_to=target, drop_by=self._drop_by),)
        drop_to: Counts = target
        grow_to: Counts = self._above(step)
        if self.kind == "em":
            drop_to, grow_to = Below(target=self._target, mutation=self.mutation_at(step)), target
        return (
            Edit(
                drop_to=drop_to,
                drop_by=self._drop_by,
                grow_to=grow_to,
                grow_by=GROWTH["random"],
                exclude_dropped=self.exclude_dropped,
            ),
        )

    @property
    def _first(self) -> float:
        """p0."""
        if self.mutation is not None:
            return self.mutation
        return 0.05 if self.kind == "em&s" else min(0.05, (1 - self._target.number) / 5)

    @property
    def _mutates(self) -> bool:
        return self.peak_bytes is not None or self._first > 0

    @property
    def _target(self) -> Target:
        pattern = parse_pattern(self.pattern)
        own = 1 - pattern.n / pattern.m if isinstance(pattern, NOfM) else float(self.sparsity or 0.0)
        return Target(sparsity=final_sparsity(self), number=own)

    @property
    def _drop_by(self) -> Criterion:
        if not self.gradient_weight:
            return CRITERIA["magnitude"]
        return MagnitudeGradient(gradient_weight=self.gradient_weight)

    @property
    def _decay(self) -> Schedule:
        """p / p0 before `stop`."""
        if self.decay == "piecewise":
            return piecewise([1.0, 0.5], [max(1, self.stop * 3 // 4)])
        if self.decay == "cosine":
            return cosine(1.0, end=self.stop)
        return linear(1.0, 0.0, end=self.stop) if self.decay == "linear" else constant(1.0)

    def _above(self, step: int) -> Counts:
        if self.peak_bytes is None:
            return Above(target=self._target, mutation=self.mutation_at(step))
        return AboveInBytes(
            target=self._target,
            share=self.mutation_at(step),
            peak_bytes=self.peak_bytes,
            states=self.states,
            pattern=self.pattern,
        )

    def _check_bytes(self) -> None:
        if self.kind != "em&s":
            raise MethodError(
                "MEST: peak_bytes bounds what is above the target, and em never is: expected kind='em&s' with peak_bytes"
            )
        if self.mutation is not None:
            raise MethodError(
                f"MEST: peak_bytes gives the mutation: expected one of the two, got mutation {self.mutation:g} as well"
            )
        for name, value in (("peak_bytes", self.peak_bytes), ("states", self.states)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise MethodError(f"MEST: expected {name} to be a whole number of at least 0, got {value!r}")

    def _check_room(self) -> None:
        """The sparsities on the way must exist."""
        number, first = self._target.number, 0.0 if self.peak_bytes is not None else self._first
        if self.kind == "em" and number + first >= 1:
            raise BudgetError(
                f"MEST: em drops to sparsity {number:g} + {first:g}, where nothing is left: expected mutation below {1 - number:g}"
            )
        if self.kind == "em&s" and number - first < 0:
            raise BudgetError(
                f"MEST: em&s grows to sparsity {number:g} - {first:g}: expected mutation of at most {number:g}"
            )
        peak = number if self.peak_sparsity is None else self.peak_sparsity
        if isinstance(parse_pattern(self.pattern), Taps) and peak < 5 / 9:
            raise BudgetError(
                f"MEST: {self.pattern} keeps at most 4 of 9 taps of a filter slice: expected a sparsity of at least 5/9 = 0.5556 at the "
                f"peak, got {peak:.4g}; raise sparsity or lower mutation"
            )

    def _check_levels(self, pattern: NOfM) -> None:
        """A group of N:M gains or loses whole entries."""
        levels = self._first * pattern.m
        if abs(levels - round(levels)) > 1e-9:
            given = (
                f"none, which stands for {self._first:g}" if self.mutation is None else f"{self.mutation:g}"
            )
            raise MethodError(
                f"MEST on {pattern}: every group of {pattern.m} gains or loses whole entries, so mutation is a multiple of 1/{pattern.m}: "
                f"expected for instance mutation={1 / pattern.m:g}, got {given}"
            )
        if self.kind == "em" and round(levels) >= pattern.n:
            raise MethodError(
                f"MEST on {pattern}: em would drop {round(levels)} of the {pattern.n} kept entries of every group and exchange the whole "
                "layer at once: expected a lower mutation, or kind='em&s', which grows first"
            )


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise MethodError(f"MEST: expected {name} to be a number of at least 0, got {value!r}")
