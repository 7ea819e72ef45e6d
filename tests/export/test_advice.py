"""Errors of a model that refuses its example say what to change where torch's words do not; arguments of a wrong kind are told;
the words of the report."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

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


@pytest.mark.parametrize(
    "pattern",
    [
        *("3:2", "0:4", "4:0", "0:0", "block:0x1", "gs:8,9", "gs:7,1", "gs:0,0", "gs:8,1,fast", "window:0"),
        *("  2:4", "2:4 "),
    ],
)
def test_a_pattern_that_no_sparsifier_takes_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^pattern: .*got "):
        pack("no model", torch.zeros(1, 4), tmp_path / "m.gsm", pattern=pattern)  # type: ignore[arg-type]


def test_a_legal_pattern_without_a_format_of_its_own_is_stored_unstructured(tmp_path: Path) -> None:
    masks = {"weight": torch.zeros(14, 14, dtype=torch.bool)}
    masks["weight"][:, 0] = True
    report = pack(nn.Linear(14, 14), torch.randn(1, 14), tmp_path / "m.gsm", masks=masks, pattern="window:7")
    assert report.weights[0].format == "unstructured"


def test_a_small_network_is_told_to_be_larger_than_its_weights(tmp_path: Path) -> None:
    report = pack(nn.Linear(4, 4), torch.randn(1, 4), tmp_path / "m.gsm")
    times = report.bytes / report.bytes_dense
    assert times > 1
    lines = str(report).splitlines()
    assert lines[0].endswith(f" bytes, {times:.2f} times the size of dense float32 (80 bytes)")
    assert lines[1].startswith("  1 node, ")
    wide = str(pack(nn.Linear(256, 256), torch.randn(1, 256), tmp_path / "m.gsm"))
    assert " times smaller than dense float32 (263,168 bytes)" in wide


class Decoder(nn.Module):
    """A decoder with a causal mask, which its caller may say."""

    def __init__(self, hint: bool | None) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(8, 2, 8, batch_first=True)
        self.layers, self.hint = nn.TransformerDecoder(layer, 1), hint

    def forward(self, memory: Tensor, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        decoded: Tensor = self.layers(x, memory, tgt_mask=mask, tgt_is_causal=self.hint)
        return decoded


def test_a_mask_that_torch_looks_into_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = (torch.randn(1, 3, 8), torch.randn(1, 4, 8))
    with pytest.raises(ExportError, match=r"tgt_is_causal=True for nn\.Transformer"):
        pack(Decoder(None).eval(), example, tmp_path / "m.gsm")
    assert capsys.readouterr().err == ""  # torch would print the graph
    assert pack(Decoder(True).eval(), example, tmp_path / "m.gsm").verification.worst < 5e-3
