"""RigL: exchange the smallest active weights for the absent ones with the largest gradient.

    drop   the lowest |w| of each layer, a fraction f(t) = (alpha / 2) (1 + cos(pi t / T_end)) of its active weights
    grow   as many absent weights, by the largest |dL/dw| of the dense gradient, at value 0

Paper: Rigging the Lottery: Making All Tickets Winners, ICML 2020 (algorithm 1). Candidates for growth include what the edit has just
dropped (as in the paper; such a weight starts again at zero), never what is active. Dense gradients are taken at edit steps only, and of
the batch of that step. Deviations: the optimizer's update happens at edit steps too, before the edit (the paper skips it), so the order of
events is the same at every step. `grow="random"` is the control, and equals SET with the same drop schedule.
"""

from dataclasses import dataclass

from gossamer.errors import MethodError
from gossamer.sparsity.growth import GROWTH
from gossamer.sparsity.schedules import cosine
from gossamer.training.edits import Edit
from gossamer.training.methods.exchange import check_exchange, exchange_edits, last_exchange
from gossamer.training.methods.method import Steps


@dataclass(frozen=True, kw_only=True)
class RigL:
    """Exchange by gradient every `every` steps, while step < stop.

    >>> method = RigL(sparsity=0.9, every=100, stop=1000)
    >>> [len(method.edits_at(step)) for step in (0, 99, 100, 999, 1000)]  # at 0: the random mask to begin with
    [1, 0, 1, 0, 0]
    >>> [round(method.edits_at(step)[0].drop_to.fraction, 4) for step in (100, 500, 900)]
    [0.2927, 0.15, 0.0073]
    """

    sparsity: float | None = None  # of the whole network, at all times; None for N:M, and for given masks
    pattern: str = "unstructured"
    allocation: str = "erk"  # uniform, erk
    criterion: str = "magnitude"  # the lowest of it is dropped
    drop_fraction: float = 0.3  # alpha, of the active weights of each layer; 0.3 as in the paper
    grow: str = "gradient"  # gradient, random
    every: Steps = 100  # Delta T, steps between edits; 100 as in the paper
    stop: Steps = 10_000  # T_end, no edit at or after this step; the paper takes 3/4 of the training
    initial: str = "random"  # random, magnitude, given
    exclude_dropped: bool = False

    def __post_init__(self) -> None:
        check_exchange(self)
        if self.grow not in ("gradient", "random"):
            raise MethodError(f"RigL: expected grow gradient or random, got {self.grow!r}")

    @property
    def last_edit(self) -> int:
        return last_exchange(self)

    @property
    def grows(self) -> bool:
        return True

    def edit_steps(self) -> range:
        return range(0, self.last_edit + 1, self.every)

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        return exchange_edits(self, step, cosine(self.drop_fraction, end=self.stop), GROWTH[self.grow])
