"""Gradual magnitude pruning: sparsity rises along a cubic, fast first and slowly where weights become scarce.

    s(t) = s_final + (s_initial - s_final) (1 - (t - start) / (stop - start))^3

Paper: To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model Compression, 2017 (equation 1). Each edit drops to the counts
of s(t) and grows nothing, so masks only shrink. Deviations: the last edit is exactly at `stop`, whether or not `every` divides the
interval; an N:M pattern passes through t:M, the same t in every group.
"""

from dataclasses import dataclass

from gossamer.errors import MethodError
from gossamer.sparsity.criteria import CRITERIA
from gossamer.sparsity.patterns import NOfM, parse_pattern
from gossamer.sparsity.schedules import cubic
from gossamer.training.edits import AtSparsity, Edit
from gossamer.training.methods.method import Steps, check_settings, check_steps, final_sparsity
from gossamer.units import checked_sparsity


@dataclass(frozen=True, kw_only=True)
class Gradual:
    """Prune a little every `every` steps, from `start` to `stop`.

    >>> method = Gradual(sparsity=0.9, every=10, stop=100)
    >>> [len(method.edits_at(step)) for step in (0, 9, 10, 99, 100, 101, 110)]
    [1, 0, 1, 0, 1, 0, 0]
    >>> [round(method.edits_at(step)[0].drop_to.sparsity, 4) for step in (0, 10, 50, 90, 100)]
    [0.0, 0.2439, 0.7875, 0.8991, 0.9]
    """

    sparsity: float | None = None  # of the whole network in the end; None for a pattern that fixes it (N:M)
    pattern: str = "unstructured"
    allocation: str = "erk"  # uniform, erk, global_rank: applied anew at the sparsity of every edit
    criterion: str = "magnitude"
    initial_sparsity: float = 0.0
    every: Steps = 100  # steps between edits
    start: Steps = 0  # the step of the first edit
    stop: Steps = 10_000  # the step of the last edit: the final sparsity holds from here on

    def __post_init__(self) -> None:
        check_settings(self)
        check_steps(self, every=self.every, stop=self.stop, start=self.start)
        checked_sparsity(self.initial_sparsity, name="Gradual: initial_sparsity")
        if self.initial_sparsity > self._final:
            raise MethodError(
                f"Gradual: expected initial_sparsity at most the final {self._final:g}, got {self.initial_sparsity:g}; it only prunes"
            )
        if self.start == 0 and "gradient" in CRITERIA[self.criterion].needs:
            raise MethodError(
                f"Gradual: criterion {self.criterion} reads gradients, of which there are none at step 0; set start=1 or later"
            )

    @property
    def initial(self) -> str:
        return "dense"

    @property
    def last_edit(self) -> int:
        return self.stop

    @property
    def grows(self) -> bool:
        return False

    def edit_steps(self) -> tuple[int, ...]:
        return (*range(self.start, self.stop, self.every), self.stop)

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        due = self.start <= step <= self.stop and ((step - self.start) % self.every == 0 or step == self.stop)
        if not due:
            return ()
        final = final_sparsity(self)
        now = cubic(self.initial_sparsity, self._final, begin=self.start, end=self.stop)(step)
        target = AtSparsity(final) if step == self.stop else AtSparsity(now, on_the_way_to=final)
        return (Edit(drop_to=target, drop_by=CRITERIA[self.criterion]),)

    @property
    def _final(self) -> float:
        pattern = parse_pattern(self.pattern)
        return 1 - pattern.n / pattern.m if isinstance(pattern, NOfM) else float(self.sparsity or 0.0)
