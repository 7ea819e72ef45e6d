"""Standard architectures at small width: packed and torch outputs agree, with random masks too."""

from pathlib import Path

import pytest
import torch

from gossamer import runtime
from gossamer.export import pack

from .architectures import ARCHITECTURES
from .zoo import masks_of, randomize


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_packed_equals_torch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    line = ARCHITECTURES[name]
    model = randomize(line.make()).eval()
    report = pack(model, line.example(), tmp_path / "m.gsm", dtype="float32", max_batch=3, tolerance=3e-5)
    assert list(report.verification.errors) == ["1", "2", "3"], report.notes
    assert report.batch == "batch 1 to 3"
    assert report.verification.engine == runtime.load(tmp_path / "m.gsm").engine


@pytest.mark.parametrize(
    "name", ["unet_transposed", "gan_generator", "bert", "lstm_language", "rnn", "swin", "tcn"]
)
def test_masks_decide(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    line = ARCHITECTURES[name]
    model = randomize(line.make()).eval()
    masks = masks_of(model)
    report = pack(
        model, line.example(), tmp_path / "m.gsm", masks=masks, dtype="float32", max_batch=2, tolerance=3e-5
    )
    assert report.sparsity > 0.15
    assert runtime.load(tmp_path / "m.gsm", engine="reference").outputs
