"""What the engine says about its work."""

import pytest
import torch

from gossamer.training import Gradual, Protection, RigL, Sparsifier, Static
from tests.training.helpers import (
    MLP,
    backward,
    bottleneck,
    mlp,
)


def test_summary_lists_layers_left_dense_and_counts_them() -> None:
    sparsifier = Sparsifier(bottleneck(), Static(sparsity=0.75, pattern="block:16x2"))
    summary = sparsifier.summary()
    assert {row.name: row.reason for row in summary.left_dense} == {
        "stem.weight": "protected: first layer",
        "fc.weight": "protected: last layer",
    }
    assert summary.size == 72 + 1152 + 256 + 128 + 64
    assert summary.num_kept == 72 + 64 + sum(int(mask.sum()) for mask in sparsifier.masks.values())
    assert sparsifier.sparsity == pytest.approx(0.75, abs=16 / summary.size)
    assert "dense: protected: first layer" in str(summary)


def test_peak_is_what_was_kept_at_most() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(
        model, Gradual(sparsity=0.7, every=1, stop=3), optimizer, protect=Protection(first=False)
    )
    kept = []
    for step in range(4):
        backward(model, step, shape=MLP)
        optimizer.step()
        kept.append(sparsifier.summary().num_kept)
    assert kept == sorted(kept, reverse=True)
    assert sparsifier.summary().peak_kept == 6 * 8 + 8 * 8 + 8 * 4


def test_an_end_before_the_last_edit_is_said() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, Gradual(sparsity=0.2), optimizer, protect=Protection(first=False))
    for step in range(3):
        backward(model, step, shape=MLP)
        optimizer.step()
    said = "ended at step 3, the method edits until 10,000: 0 % instead of 20 %"
    with pytest.warns(RuntimeWarning, match=f"Gradual: {said}") as warned:
        report = sparsifier.finalize()
    assert len(warned) == 1
    assert report.notes == (said,)
    assert str(report).endswith(f"\n1 edit; hooks removed\nnote: {said}")


def test_an_end_after_the_last_edit_needs_no_note(recwarn: pytest.WarningsRecorder) -> None:
    report = Sparsifier(mlp(), Static(sparsity=0.5), protect=Protection(first=False, last=False)).finalize()
    assert report.notes == ()
    assert not recwarn.list


def test_an_early_end_of_an_exchange_has_its_sparsity() -> None:
    method = RigL(sparsity=0.5, every=2, stop=9)
    sparsifier = Sparsifier(mlp(), method, protect=Protection(first=False, last=False))
    with pytest.warns(RuntimeWarning, match="RigL: ended at step 0, the method edits until 8$"):
        sparsifier.finalize()
