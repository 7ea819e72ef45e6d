"""SET, sparse evolutionary training: now and then exchange the smallest active weights for random absent ones.

    drop   the lowest |w| of each layer, a fraction zeta of its active weights
    grow   as many absent weights, uniformly at random, at value 0

Paper: Scalable Training of Artificial Neural Networks with Adaptive Sparse Connectivity inspired by Network Science, Nature
Communications 2018 (algorithm 1). Deviations: the paper drops the smallest positive and the largest negative weights, here the smallest
magnitudes; it grows at random values once an epoch until the last, here at zero every `every` steps, before `stop`. What an edit drops may
grow again in the same edit (at zero); `exclude_dropped` forbids it.
"""

from dataclasses import dataclass

from gossamer.errors import MethodError
from gossamer.sparsity.growth import GROWTH
from gossamer.sparsity.schedules import constant, cosine
from gossamer.training.edits import Edit
from gossamer.training.methods.exchange import check_exchange, exchange_edits, last_exchange
from gossamer.training.methods.method import Steps


@dataclass(frozen=True, kw_only=True)
class SET:
    """Exchange at random every `every` steps, while step < stop.

    >>> method = SET(sparsity=0.9, every=100, stop=1000)
    >>> [len(method.edits_at(step)) for step in (0, 99, 100, 999, 1000)]  # at 0: the random mask to begin with
    [1, 0, 1, 0, 0]
    >>> method.edits_at(100)[0].drop_to, method.edits_at(900)[0].drop_to
    (WithoutFraction(fraction=0.3), WithoutFraction(fraction=0.3))
    """

    sparsity: float | None = None  # of the whole network, at all times; None for N:M, and for given masks
    pattern: str = "unstructured"
    allocation: str = "erk"  # uniform, erk
    criterion: str = "magnitude"  # the lowest of it is dropped
    drop_fraction: float = 0.3  # zeta, of the active weights of each layer; 0.3 as in the paper
    decay: str = "constant"  # of the drop fraction: constant (paper), or cosine to zero at stop (as RigL)
    every: Steps = 100  # steps between edits
    stop: Steps = 10_000  # no edit at or after this step
    initial: str = "random"  # random, magnitude, given
    exclude_dropped: bool = False

    def __post_init__(self) -> None:
        check_exchange(self)
        if self.decay not in ("constant", "cosine"):
            raise MethodError(f"SET: expected decay constant or cosine, got {self.decay!r}")

    @property
    def last_edit(self) -> int:
        return last_exchange(self)

    @property
    def grows(self) -> bool:
        return True

    def edit_steps(self) -> range:
        return range(0, self.last_edit + 1, self.every)

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        fractions = {
            "constant": constant(self.drop_fraction),
            "cosine": cosine(self.drop_fraction, end=self.stop),
        }
        return exchange_edits(self, step, fractions[self.decay], GROWTH["random"])
