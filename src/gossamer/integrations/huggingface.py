"""Hugging Face Trainer: a callback that runs a Sparsifier.

    callback = sparsify(trainer, RigL(sparsity=0.9, every=100, stop=3000))
    trainer.train()
    print(callback.report)

It attaches when training begins, where the optimizer exists and a checkpoint has been loaded; writes `sparsifier.pt` into every checkpoint
folder of the Trainer and reads it again on resume; adds `sparsity` to what is logged; finalizes when training ends. The Trainer clips
before any callback hears of the step, so `sparsify` makes its Accelerator mask gradients first.
"""

import io
from pathlib import Path
from typing import Any

import torch

from gossamer.errors import CheckpointError
from gossamer.files import write_atomic
from gossamer.integrations.accelerate import mask_before_clipping
from gossamer.integrations.settings import Settings, missing
from gossamer.training import FinalReport, Method, Protection, Sparsifier

try:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ModuleNotFoundError as error:
    raise missing("huggingface", error) from None

FILE = "sparsifier.pt"


def sparsify(
    trainer: Trainer,
    method: Method,
    *,
    seed: int = 0,
    protect: Protection | None = None,
    layers: tuple[str, ...] | None = None,
    resume_from: str | Path | None = None,
) -> "SparsityCallback":
    """Adds a SparsityCallback to `trainer`, and has gradients of dropped entries zeroed before they are clipped."""
    callback = SparsityCallback(method, seed=seed, protect=protect, layers=layers, resume_from=resume_from)
    trainer.add_callback(callback)
    mask_before_clipping(trainer.accelerator, lambda: callback.sparsifier)
    return callback


class SparsityCallback(TrainerCallback):
    """Runs `method` in a Trainer. Used alone (`callbacks=[...]`), clipping sees the gradients of dropped entries too.

    `sparsifier` is there while training, and can be read afterwards; `report` is what `finalize` said.
    """

    def __init__(
        self,
        method: Method,
        *,
        seed: int = 0,
        protect: Protection | None = None,
        layers: tuple[str, ...] | None = None,
        resume_from: str | Path | None = None,
    ) -> None:
        """resume_from: the checkpoint folder that the Trainer resumes from, where it does not stand in its output_dir."""
        self.settings = Settings(method=method, seed=seed, protect=protect, layers=layers)
        self.resume_from = resume_from
        self.sparsifier: Sparsifier | None = None
        self.report: FinalReport | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.report = None
        self.sparsifier = self.settings.attach(kwargs["model"], kwargs["optimizer"], before=self.sparsifier)
        if state.global_step == 0:
            return
        folder = _checkpoint(args, state) if self.resume_from is None else Path(self.resume_from)
        if not (folder / FILE).is_file():
            raise CheckpointError(
                f"expected {folder / FILE}, which a run with this callback saves, got none; if the checkpoint stands elsewhere, pass "
                "resume_from=; to sparsify what was trained densely, load the weights and start at step 0"
            )
        self.sparsifier.load_state_dict(torch.load(folder / FILE, map_location="cpu", weights_only=True))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.sparsifier is not None and state.is_world_process_zero:
            content = io.BytesIO()
            torch.save(self.sparsifier.state_dict(), content)
            write_atomic(_checkpoint(args, state) / FILE, content.getvalue())

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.sparsifier is None:
            return
        for line in (logs, state.log_history[-1] if state.log_history else None):
            if line is not None:
                line["sparsity"] = self.sparsifier.sparsity

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.sparsifier is not None and self.report is None:
            self.report = self.sparsifier.finalize()


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the Trainer saves at this step."""
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
