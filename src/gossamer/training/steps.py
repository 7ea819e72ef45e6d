"""What is one optimizer step? Torch's hooks alone do not tell.

* A class whose `step` calls its parent's step runs the hooks of both, nested: only the outermost call counts.
* A step that ends in an exception (a closure, a user's optimizer) runs its pre-hook and never its post-hook.
* A fused optimizer under a gradient scaler is called on steps that are then skipped. Fused SGD makes its momentum buffers from
  uninitialised memory before it looks at `found_inf`, so state that a skipped step created has to go.
"""

import sys
from types import FrameType

from torch import Tensor
from torch.optim import Optimizer


class StepCalls:
    """Follows the calls of one optimizer's step."""

    def __init__(self) -> None:
        self._depth = 0  # steps that have begun and not ended
        self._outermost: FrameType | None = None  # the call of the first of them
        self._without_state: list[Tensor] = []

    def begins(self) -> bool:
        """In the pre-hook: True if a step begins, False inside one."""
        caller = sys._getframe(2)  # torch's wrapper around `step`, which calls the hook
        if self._outermost is not None and not _is_running(self._outermost, caller):
            self._depth = 0  # the last step ended in an exception
        self._depth += 1
        if self._depth == 1:
            self._outermost = caller
        return self._depth == 1

    def ends(self) -> bool:
        """In the post-hook: True if the step that began has ended."""
        self._depth -= 1
        if self._depth == 0:
            self._outermost = None
        return self._depth == 0

    def note_state(self, optimizer: Optimizer) -> None:
        """Before the update: remembers which parameters have no state yet, if this step may be skipped."""
        self._without_state = []
        if getattr(optimizer, "found_inf", None) is not None:
            parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
            self._without_state = [
                p for p in parameters if p not in optimizer.state or not optimizer.state[p]
            ]

    def was_skipped(self, optimizer: Optimizer) -> bool:
        """After the update: True if there was none. State that the call created is removed."""
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is None or not bool(found_inf):
            return False
        for parameter in self._without_state:
            optimizer.state.pop(parameter, None)
        return True


def _is_running(call: FrameType, frame: FrameType | None) -> bool:
    """True if `call` is `frame` or one of its callers."""
    while frame is not None and frame is not call:
        frame = frame.f_back
    return frame is not None
