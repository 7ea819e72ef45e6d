"""Accelerate: a Sparsifier beside your own loop over an Accelerator.

Call `sparsify` after `accelerator.prepare(...)`. Accumulated batches are no steps: the Accelerator calls the optimizer only where
gradients are complete. `accelerator.clip_grad_norm_` then sees the norm of what will be applied; `save_state` and `load_state` carry
the Sparsifier like everything else that is registered.
"""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gossamer.integrations.settings import Settings, missing
from gossamer.training import Method, Protection, Sparsifier

try:
    from accelerate import Accelerator
except ModuleNotFoundError as error:
    raise missing("accelerate", error) from None


def sparsify(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Optimizer,
    method: Method,
    *,
    seed: int = 0,
    protect: Protection | None = None,
    layers: tuple[str, ...] | None = None,
) -> Sparsifier:
    """Attaches a Sparsifier to a prepared model and optimizer, and registers it for the Accelerator's checkpoints.

    At the end of training call `finalize()` on it. A second model, or a second phase of training, may have a Sparsifier of its own.
    """
    settings = Settings(method=method, seed=seed, protect=protect, layers=layers)
    sparsifier = settings.attach(accelerator.unwrap_model(model), optimizer)
    accelerator.register_for_checkpointing(sparsifier)
    mask_before_clipping(accelerator, lambda: sparsifier)
    return sparsifier


def mask_before_clipping(accelerator: Accelerator, find: Callable[[], Sparsifier | None]) -> None:
    """Makes `accelerator.clip_grad_norm_` zero the gradients of dropped entries first, while `find()` is attached to an optimizer.

    With a gradient scaler (fp16) nothing is changed: gradients are still scaled there, and are masked when the optimizer steps.
    """
    if accelerator.scaler is not None:
        return
    clip = accelerator.clip_grad_norm_

    def masked(parameters: Iterable[Tensor], *args: Any, **kwargs: Any) -> Any:
        sparsifier = find()
        if sparsifier is not None and sparsifier.attached:
            sparsifier.mask_gradients()
        return clip(parameters, *args, **kwargs)

    accelerator.clip_grad_norm_ = masked
