"""Static sparse training: one mask before the first step, and no edit ever after.

The control that every other method must beat: `initial="random"` knows nothing but the counts of the allocation. `initial="magnitude"`
keeps the largest initial (or loaded) weights. `initial="given"` takes the masks handed to the Sparsifier, for fine-tuning under a fixed
mask.
"""

from dataclasses import dataclass

from gossamer.errors import MethodError
from gossamer.training.edits import Edit
from gossamer.training.methods.method import INITIAL, check_settings, starting_edits


@dataclass(frozen=True, kw_only=True)
class Static:
    """A mask that stays.

    >>> method = Static(sparsity=0.9)
    >>> [len(method.edits_at(step)) for step in (0, 1, 1000)]
    [1, 0, 0]
    >>> Static(initial="given").edits_at(0)
    ()
    """

    sparsity: float | None = None  # of the whole network; None for N:M, and for given masks
    pattern: str = "unstructured"
    allocation: str = "erk"  # uniform, erk; global_rank only with initial="magnitude"
    initial: str = "random"  # random, magnitude, given

    def __post_init__(self) -> None:
        if self.initial not in INITIAL:
            raise MethodError(
                f"Static: expected initial to be one of {', '.join(INITIAL)}, got {self.initial!r}"
            )
        if self.allocation == "global_rank" and self.initial != "magnitude":
            raise MethodError(
                "Static: global_rank ranks magnitudes: expected initial='magnitude', or allocation uniform or erk"
            )
        check_settings(self)

    @property
    def criterion(self) -> str:
        return "magnitude"

    @property
    def last_edit(self) -> int:
        return 0

    @property
    def grows(self) -> bool:
        return False

    def edit_steps(self) -> tuple[int, ...]:
        return (0,)

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        return starting_edits(self) if step == 0 else ()
