"""The same training in three frameworks: a small network, two epochs of four optimizer steps, each of two accumulated batches, clipped.

A run can be resumed after the first epoch. (Inside an epoch it is the framework's affair which batches come next.)
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gossamer.training import Protection, RigL, Sparsifier

METHOD = RigL(sparsity=0.7, every=2, stop=7, drop_fraction=0.4)
PROTECT = Protection(first=False)
STEPS, STOP, ACCUMULATE, BATCH, CLIP = 8, 4, 2, 4, 0.05


class Network(nn.Module):
    """Hugging Face hands over `x` and `labels` by name and wants the loss back."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.c(torch.relu(self.b(torch.relu(self.a(x)))))
        return {"loss": nn.functional.cross_entropy(logits.float(), labels), "logits": logits}


@dataclass
class Outcome:
    """What a run leaves. `steps`: of the optimizer, as the engine has counted them."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    sparsifier: Sparsifier
    steps: int
    logged: list[float] = field(default_factory=list)


def network() -> Network:
    torch.manual_seed(0)
    return Network()


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    count = STOP * ACCUMULATE * BATCH
    return TensorDataset(
        torch.randn(count, 6, generator=generator), torch.randint(0, 4, (count,), generator=generator)
    )


def trainer_of(folder: Path, *, bf16: bool) -> Any:
    from transformers import Trainer, TrainingArguments

    rows = [{"x": x, "labels": y} for x, y in data()]
    return Trainer(
        network(),
        TrainingArguments(
            output_dir=str(folder),
            use_cpu=True,
            bf16=bf16,
            max_steps=STEPS,
            save_steps=STOP,
            logging_steps=2,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=ACCUMULATE,
            max_grad_norm=CLIP,
            learning_rate=0.01,
            lr_scheduler_type="constant",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=rows,
    )


def huggingface(folder: Path, *, bf16: bool, resume: bool) -> Outcome:
    from gossamer.integrations.huggingface import sparsify

    trainer = trainer_of(folder, bf16=bf16)
    callback = sparsify(trainer, METHOD, protect=PROTECT, seed=3)
    trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{STOP}") if resume else None)
    logged = [line["sparsity"] for line in trainer.state.log_history if "sparsity" in line]
    assert callback.sparsifier is not None
    assert callback.report is not None
    return Outcome(
        trainer.model, trainer.optimizer.optimizer, callback.sparsifier, callback.sparsifier.step, logged
    )


def lightning(folder: Path, *, bf16: bool, resume: bool) -> Outcome:
    import lightning.pytorch as pl

    from gossamer.integrations.lightning import SparsityCallback

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
            return self.network(*batch)["loss"]

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.0)

    def fit(epochs: int, checkpoint: Path | None) -> tuple[SparsityCallback, pl.Trainer, Module]:
        callback = SparsityCallback(METHOD, protect=PROTECT, seed=3)
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            accumulate_grad_batches=ACCUMULATE,
            gradient_clip_val=CLIP,
            precision="bf16-mixed" if bf16 else "32-true",
            callbacks=[callback],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        module = Module()
        trainer.fit(module, DataLoader(data(), batch_size=BATCH), ckpt_path=checkpoint)
        return callback, trainer, module

    saved = folder / "one-epoch.ckpt" if resume else None
    if (
        saved is not None
    ):  # a checkpoint inside a fit begins with one more batch when resumed: Lightning's own affair
        fit(1, None)[1].save_checkpoint(saved)
    callback, trainer, module = fit(2, saved)
    assert callback.sparsifier is not None
    assert callback.report is not None
    logged = [float(trainer.callback_metrics["sparsity"])]
    return Outcome(module, trainer.optimizers[0], callback.sparsifier, callback.sparsifier.step, logged)


def accelerate(folder: Path, *, bf16: bool, resume: bool) -> Outcome:
    from accelerate import Accelerator

    from gossamer.integrations.accelerate import sparsify

    accelerator = Accelerator(
        cpu=True, mixed_precision="bf16" if bf16 else "no", gradient_accumulation_steps=ACCUMULATE
    )
    plain = network()
    model, optimizer, loader = accelerator.prepare(
        plain, torch.optim.AdamW(plain.parameters(), lr=0.01), DataLoader(data(), batch_size=BATCH)
    )
    sparsifier = sparsify(accelerator, model, optimizer, METHOD, protect=PROTECT, seed=3)
    if resume:
        accelerator.load_state(str(folder / "state"))
    logged = []
    for epoch in range(int(resume), 2):
        for x, y in loader:
            with accelerator.accumulate(model):
                accelerator.backward(model(x, y)["loss"])
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), CLIP)
                optimizer.step()
                optimizer.zero_grad()
        if epoch == 0:
            accelerator.save_state(str(folder / "state"))
        logged.append(sparsifier.sparsity)
    steps = sparsifier.step
    sparsifier.finalize()
    return Outcome(plain, optimizer.optimizer, sparsifier, steps, logged)


LOOPS = {"huggingface": huggingface, "lightning": lightning, "accelerate": accelerate}
