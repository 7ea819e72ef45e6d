"""Lightning: a callback that runs a Sparsifier.

    callback = SparsityCallback(RigL(sparsity=0.9, every=100, stop=3000))
    Trainer(callbacks=[callback], ...).fit(module, loader)
    print(callback.report)

It attaches when training begins, where the optimizer exists and a checkpoint has been loaded; zeroes the gradients of dropped entries
before Lightning clips; is saved in Lightning's checkpoints and restored with them; logs `sparsity` once an epoch; finalizes at the end.
"""

from typing import Any

from torch.optim import Optimizer

from gossamer.integrations.settings import Settings, expect_one, missing
from gossamer.training import FinalReport, Method, Protection, Sparsifier

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError as error:
    raise missing("lightning", error) from None


class SparsityCallback(Callback):
    """Runs `method` in a Trainer. `sparsifier` is there while training, and can be read afterwards; `report` is what `finalize` said."""

    def __init__(
        self,
        method: Method,
        *,
        seed: int = 0,
        protect: Protection | None = None,
        layers: tuple[str, ...] | None = None,
    ) -> None:
        self.settings = Settings(method=method, seed=seed, protect=protect, layers=layers)
        self.sparsifier: Sparsifier | None = None
        self.report: FinalReport | None = None
        self._loaded: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.report = None
        optimizer = expect_one(trainer.optimizers)
        self.sparsifier = self.settings.attach(pl_module, optimizer, before=self.sparsifier)
        if self._loaded is not None:
            self.sparsifier.load_state_dict(self._loaded)
            self._loaded = None

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """After the last backward pass of a step, unscaled, before clipping."""
        assert self.sparsifier is not None
        self.sparsifier.mask_gradients()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.sparsifier is not None
        pl_module.log("sparsity", self.sparsifier.sparsity)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.sparsifier is not None
        self.report = self.sparsifier.finalize()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.sparsifier is None else self.sparsifier.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict or None
