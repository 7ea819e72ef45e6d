"""One contract for every framework, with its real trainer: steps, masks, clipping, checkpoints, the end."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gossamer.errors import EngineError
from gossamer.integrations.settings import expect_one
from gossamer.training import Sparsifier
from tests.integrations.loops import LOOPS, METHOD, PROTECT, STEPS, network, trainer_of
from tests.training.helpers import assert_dropped_is_zero

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip({"huggingface": "transformers"}.get(request.param, request.param))
    return LOOPS[request.param]


@pytest.fixture(autouse=True)
def _fresh(one_thread: None) -> Iterator[None]:
    """Bit-equal runs need a fixed number of threads; Accelerate's precision is chosen once a process."""
    yield
    if "accelerate" in sys.modules:
        sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("bf16", [False, True])
def test_the_method_runs_and_masks_hold(loop: Any, bf16: bool, tmp_path: Path) -> None:
    outcome = loop(tmp_path, bf16=bf16, resume=False)
    sparsifier = outcome.sparsifier
    assert outcome.steps == STEPS  # accumulated batches are no steps
    assert [record.step for record in sparsifier.history] == [
        step for step in range(STEPS + 1) if METHOD.edits_at(step)
    ]
    assert any(record.grown for record in sparsifier.history[1:])
    assert sparsifier.sparsity == pytest.approx(0.7, abs=0.01)
    assert outcome.logged[-1] == pytest.approx(sparsifier.sparsity)
    assert_dropped_is_zero(sparsifier, outcome.model, outcome.optimizer)
    with pytest.raises(EngineError, match="finalized"):
        sparsifier.mask_gradients()


def test_clipping_sees_what_will_be_applied(
    loop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightning.pytorch.plugins.precision.precision as precision

    seen: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def watched(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        parameters = list(parameters)
        for parameter in parameters:
            if (
                parameter.dim() == 2 and parameter.grad is not None
            ):  # where a weight is zero its gradient is, too
                seen.append(float(parameter.grad[parameter == 0].abs().sum()))
        return clip(parameters, *args, **kwargs)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    assert precision.torch.nn.utils.clip_grad_norm_ is watched
    outcome = loop(tmp_path, bf16=False, resume=False)
    assert len(seen) == 3 * STEPS
    grown = sum(record.grown for record in outcome.sparsifier.history[1:])
    # entries that have just been grown are zero and have a gradient; all other zeros have none
    assert sum(value > 0 for value in seen) <= 3 * sum(METHOD.edits_at(s) != () for s in range(1, STEPS))
    assert grown > 0
    assert seen[0] == seen[1] == 0


def test_clipping_after_the_end_is_as_it_was() -> None:
    accelerate = pytest.importorskip("accelerate")
    from gossamer.integrations.accelerate import sparsify

    accelerator = accelerate.Accelerator(cpu=True)
    plain = network()
    model, optimizer = accelerator.prepare(plain, torch.optim.SGD(plain.parameters(), 0.1))
    sparsify(accelerator, model, optimizer, METHOD, protect=PROTECT).finalize()
    second = sparsify(accelerator, model, optimizer, METHOD, protect=PROTECT)
    for parameter in plain.parameters():
        parameter.grad = torch.ones_like(parameter)
    accelerator.clip_grad_norm_(model.parameters(), 1e9)
    for name, mask in second.masks.items():
        assert torch.equal(plain.get_parameter(name).grad, mask.float()), name
    second.detach()
    for parameter in plain.parameters():
        parameter.grad = torch.ones_like(parameter)
    accelerator.clip_grad_norm_(model.parameters(), 1e9)
    assert all(bool(parameter.grad.all()) for parameter in plain.parameters())


def sparse_trainer(folder: Path) -> tuple[Any, Any]:
    """A Hugging Face Trainer and its callback."""
    pytest.importorskip("transformers")
    from gossamer.integrations.huggingface import sparsify

    trainer = trainer_of(folder, bf16=False)
    return trainer, sparsify(trainer, METHOD, protect=PROTECT, seed=3)


def test_a_trainer_that_trains_twice_masks_before_clipping_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, callback = sparse_trainer(tmp_path)
    calls: list[Sparsifier] = []
    monkeypatch.setattr(Sparsifier, "mask_gradients", lambda self: calls.append(self))
    trainer.train()
    first = callback.sparsifier
    trainer.train()
    assert first is not callback.sparsifier
    # once a step before clipping, once in the optimizer's pre-hook
    assert [call is first for call in calls] == [True] * 2 * STEPS + [False] * 2 * STEPS


def test_a_training_that_was_interrupted_can_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, callback = sparse_trainer(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(type(callback), "on_log", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    interrupted = callback.sparsifier
    assert interrupted is not None
    assert interrupted.attached
    trainer.train()
    assert not interrupted.attached
    assert callback.sparsifier is not interrupted
    assert callback.sparsifier is not None
    assert callback.sparsifier.step == STEPS
    assert interrupted.step < STEPS


def test_resume_is_bit_equal(loop: Any, tmp_path: Path) -> None:
    whole = loop(tmp_path, bf16=False, resume=False)
    torch.manual_seed(99)
    again = loop(tmp_path, bf16=False, resume=True)
    assert again.steps == STEPS
    for name, mask in whole.sparsifier.masks.items():
        assert torch.equal(mask, again.sparsifier.masks[name]), name
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert [r.mask_hash for r in whole.sparsifier.history] == [r.mask_hash for r in again.sparsifier.history]


def test_two_optimizers_are_refused() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(EngineError, match="one optimizer, got 2"):
        expect_one([torch.optim.SGD([weight]), torch.optim.SGD([weight])])
