"""Errors of a model that refuses its example say what to change where torch's words do not; arguments of a wrong kind are told."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gossamer.errors import ExportError
from gossamer.export import pack


@pytest.mark.parametrize(
    ("example", "advice"),
    [
        (torch.tensor([[1, 10]]), "is beyond the rows of an embedding$"),
        (torch.zeros(1, 2), "an embedding takes whole numbers: .*--input ids=1x16:0..999"),
    ],
)
def test_an_example_that_no_embedding_takes_is_explained(
    example: torch.Tensor, advice: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=f"does not run on the example .*; .*{advice}"):
        pack(nn.Sequential(nn.Embedding(10, 4), nn.Flatten()), example, tmp_path / "m.gsm")


def test_a_length_of_a_wrong_kind_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"length: expected .*ids:1=1..512, or a Length, got 5"):
        pack(nn.Embedding(10, 4), torch.tensor([[1, 2]]), tmp_path / "m.gsm", length=5)  # type: ignore[arg-type]
