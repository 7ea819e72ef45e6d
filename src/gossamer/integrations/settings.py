"""What every integration does the same way: make a Sparsifier once the optimizer exists, and say which extra is missing."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from gossamer.errors import EngineError, MissingExtraError
from gossamer.training import Method, Protection, Sparsifier


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of the Sparsifier that is still to be made."""

    method: Method
    seed: int = 0
    protect: Protection | None = None
    layers: Sequence[str] | None = None

    def attach(
        self, model: nn.Module, optimizer: Optimizer, *, before: Sparsifier | None = None
    ) -> Sparsifier:
        """The Sparsifier of a model and its optimizer, each without the framework's wrapping.

        before: that of an earlier training; if it was interrupted, it ends here, as a weight has one Sparsifier.
        """
        if before is not None and before.attached:
            with warnings.catch_warnings():  # that it ends early is known
                warnings.simplefilter("ignore", RuntimeWarning)
                before.finalize()
        return Sparsifier(
            model,
            self.method,
            plain_optimizer(optimizer),
            seed=self.seed,
            protect=self.protect,
            layers=self.layers,
        )


def plain_optimizer(optimizer: Optimizer) -> Optimizer:
    """The torch optimizer inside a framework's: the one whose hooks run once a real step."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    return optimizer


def expect_one(optimizers: Sequence[Optimizer]) -> Optimizer:
    """The optimizer of a trainer that has exactly one."""
    if len(optimizers) != 1:
        raise EngineError(
            f"expected a trainer with one optimizer, got {len(optimizers)}; make a Sparsifier for each of them in your own loop"
        )
    return optimizers[0]


def missing(extra: str, error: ModuleNotFoundError) -> MissingExtraError:
    """What to install; `error` is the failed import."""
    return MissingExtraError(
        f"gossamer.integrations.{extra} needs {error.name}, which is not installed. Install it with: pip install 'gossamer[{extra}]'"
    )
