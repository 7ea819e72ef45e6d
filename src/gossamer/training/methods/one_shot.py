"""One-shot pruning: at one step, keep the weights with the highest score, and never change the mask again.

    mask = the legal mask of the allocated count with the largest total score

At step 0 (the default) it prunes a trained model after the fact, or fixes the mask that fine-tuning then respects. A criterion that reads
gradients needs `at` >= 1, because before the first step there are none.
"""

from dataclasses import dataclass

from gossamer.errors import MethodError
from gossamer.sparsity.criteria import CRITERIA
from gossamer.training.edits import AtSparsity, Edit
from gossamer.training.methods.method import Steps, check_is_step, check_settings, final_sparsity


@dataclass(frozen=True, kw_only=True)
class OneShot:
    """Prune once, after step `at`.

    >>> method = OneShot(sparsity=0.9, at=100)
    >>> [len(method.edits_at(step)) for step in (0, 99, 100, 101)]
    [0, 0, 1, 0]
    >>> len(OneShot(sparsity=0.9).edits_at(0))
    1
    """

    sparsity: float | None = None  # of the whole network; None for a pattern that fixes it (N:M)
    pattern: str = "unstructured"
    allocation: str = "erk"  # uniform, erk, global_rank
    criterion: str = "magnitude"  # what is kept: magnitude, gradient, magnitude_gradient, taylor
    at: Steps = 0  # the optimizer step after which the edit happens; 0: before the first

    def __post_init__(self) -> None:
        check_settings(self)
        check_is_step("OneShot", at=self.at)
        if self.at < 0:
            raise MethodError(f"OneShot: expected at to be step 0 or later, got {self.at}")
        if self.at == 0 and "gradient" in CRITERIA[self.criterion].needs:
            raise MethodError(
                f"OneShot: criterion {self.criterion} reads gradients, of which there are none at step 0; set at=1 or later"
            )

    @property
    def initial(self) -> str:
        return "dense"

    @property
    def last_edit(self) -> int:
        return self.at

    @property
    def grows(self) -> bool:
        return False

    def edit_steps(self) -> tuple[int, ...]:
        return (self.at,)

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        if step != self.at:
            return ()
        return (Edit(drop_to=AtSparsity(final_sparsity(self)), drop_by=CRITERIA[self.criterion]),)
