"""Counts of MEST: how far below or above its target a network goes, as rules; by a number, or by the bytes that it may take at the peak."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gossamer.errors import BudgetError
from gossamer.training.edits import AtSparsity, CountState
from gossamer.training.weight_bytes import network_memory


@dataclass(frozen=True, kw_only=True)
class Target:
    """The sparsity that a method ends with: what `allocate` takes (None: the pattern's own), and its number."""

    sparsity: float | None
    number: float

    def counts(self, state: CountState) -> Mapping[str, int]:
        return AtSparsity(self.sparsity)(state)


@dataclass(frozen=True, kw_only=True)
class Below:
    """The counts at `target + mutation`, to be grown back to the target.

    No more is dropped of a weight than it has absent entries: one that the allocation keeps whole stays as it is. And no weight loses its
    last unit.
    """

    target: Target
    mutation: float

    def __call__(self, state: CountState) -> Mapping[str, int]:
        full, low = (
            self.target.counts(state),
            AtSparsity(min(self.target.number + self.mutation, _most(state)))(state),
        )
        return {name: max(low[name], 2 * count - state.legal[name][-1]) for name, count in full.items()}


@dataclass(frozen=True, kw_only=True)
class Above:
    """The counts at `target - mutation`; no weight has fewer than at the target, whatever rounding does."""

    target: Target
    mutation: float

    def __call__(self, state: CountState) -> Mapping[str, int]:
        full, high = self.target.counts(state), AtSparsity(self.target.number - self.mutation)(state)
        return {name: max(high[name], count) for name, count in full.items()}


@dataclass(frozen=True, kw_only=True)
class AboveInBytes:
    """The counts at `target - share * p0`, p0 being the largest mutation whose weights take no more than `peak_bytes`."""

    target: Target
    share: float
    peak_bytes: int
    states: int  # optimizer tensors of a weight's shape
    pattern: str

    def __call__(self, state: CountState) -> Mapping[str, int]:
        return Above(target=self.target, mutation=self.share * self.largest_mutation(state))(state)

    def largest_mutation(self, state: CountState) -> float:
        """p0, searched for once a run; BudgetError with the least possible bound."""
        return state.once(replace(self, share=1.0), lambda: self._searched(state))

    def _searched(self, state: CountState) -> float:
        """By bisection over the entries of the whole network."""
        numel = sum(shape.numel for shape in state.shapes.values())

        def taken(extra: int) -> int:
            counts = Above(target=self.target, mutation=extra / numel)(state)
            return network_memory(state.shapes, counts, states=self.states, pattern=self.pattern).total

        if taken(0) > self.peak_bytes:
            raise BudgetError(
                f"MEST: expected peak_bytes of at least {taken(0)}, which is what the weights take at the target sparsity with their "
                f"gradients, {self.states} optimizer tensors and indices, got {self.peak_bytes}; raise the bound or the sparsity"
            )
        low, high = 0, int(self.target.number * numel)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if taken(middle) <= self.peak_bytes else (low, middle - 1)
        return low / numel


def _most(state: CountState) -> float:
    """The sparsity at which every masked weight has one unit left."""
    dense = sum(shape.numel for name, shape in state.shapes.items() if name not in state.legal)
    fewest = dense + sum(legal.step for legal in state.legal.values())
    return 1 - fewest / sum(shape.numel for shape in state.shapes.values())
