"""A free length and states: packed at one length range, equal to torch at every length of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gossamer import runtime
from gossamer.errors import ExportError
from gossamer.export import pack
from gossamer.export.length import Length
from gossamer.export.spec import examples_of
from gossamer.formats import packed_file

from .architectures.encoders import Bert, Gpt, TorchEncoder


class Language(nn.Module):
    """Two LSTM layers whose states come from outside and go back there."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm, self.head = (
            nn.Embedding(30, 8),
            nn.LSTM(8, 6, 2, batch_first=True),
            nn.Linear(6, 30),
        )

    def forward(self, ids: Tensor, h0: Tensor, c0: Tensor) -> dict[str, Tensor]:
        y, (h, c) = self.lstm(self.words(ids), (h0, c0))
        return {"logits": self.head(y), "hn": h, "cn": c}


class TimeFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.rnn = nn.GRU(4, 3, bidirectional=True), nn.RNN(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.gru(x)[0])[0]


def test_states_are_kept_between_calls(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Language().eval()
    states = {"h0": "hn", "c0": "cn"}
    example = {"ids": torch.randint(0, 30, (1, 5)), "h0": torch.zeros(2, 1, 6), "c0": torch.zeros(2, 1, 6)}
    report = pack(
        model, example, tmp_path / "m.gsm", length="ids:1=1..16", states=states, dtype="float32", max_batch=2
    )
    assert list(report.verification.errors) == ["1x1", "2x1", "1x8", "2x8", "1x16", "2x16"]
    assert report.batch == "batch 1 to 2, length 1 to 16"
    network = packed_file.read(tmp_path / "m.gsm").manifest.network
    assert [i.shape for i in network.inputs] == [("n", "s"), ("n", 2, 6), ("n", 2, 6)]
    assert [i.dtype for i in network.inputs] == ["int64", "float32", "float32"]
    ids = torch.randint(0, 30, (1, 12))
    with torch.no_grad():
        expected = model(ids, example["h0"], example["c0"])["logits"].numpy()
    session = runtime.load(tmp_path / "m.gsm", engine="reference")
    parts = [session.run({"ids": part.numpy()})["logits"] for part in ids.split(5, 1)]
    np.testing.assert_allclose(np.concatenate(parts, 1), expected, atol=1e-6)


@pytest.mark.parametrize("make", [Bert, TorchEncoder, lambda: TorchEncoder(batch_first=False)])
def test_encoders_with_a_mask(make: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    mask = (torch.arange(7) < torch.tensor([[7], [4]])).long()
    example = {"ids": torch.randint(1, 40, (2, 7)), "mask": mask}
    report = pack(
        make().eval(), example, tmp_path / "m.gsm", length="ids:1,mask:1=1..24", dtype="float32", max_batch=2
    )
    assert report.verification.worst < 1e-5


def test_causal_masks_are_cut_to_the_length(tmp_path: Path) -> None:
    torch.manual_seed(0)
    length = Length(dims={"ids": 1}, max=20)
    report = pack(
        Gpt().eval(),
        torch.randint(0, 40, (1, 6)),
        tmp_path / "m.gsm",
        length=length,
        dtype="float32",
        max_batch=2,
    )
    assert report.verification.worst < 1e-5


def test_time_first(tmp_path: Path) -> None:
    report = pack(
        TimeFirst().eval(), torch.randn(7, 1, 4), tmp_path / "m.gsm", batch_dims={"x": 1}, length="x:0=1..9",
        dtype="float32", max_batch=2,
    )  # fmt: skip
    assert "'output' has its batch at dimension 1 in the model, in the file at dimension 0" in report.notes
    network = packed_file.read(tmp_path / "m.gsm").manifest.network
    assert network.inputs[0].shape == ("n", "s", 4)


class Fixed(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.fc = kind, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "branch":
            return self.fc(x) if x.shape[1] == 8 else self.fc(x).relu()
        if self.kind == "reversed":
            return x + torch.arange(x.shape[1]).flip(0)[:, None]
        return x * (1.0 / x.shape[1])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("branch", "computes in another way at length 7 than at 8"),
        ("reversed", "a constant whose entries are others at another length"),
        ("number", "cannot follow the length: scale"),
    ],
)
def test_what_cannot_follow_a_length_is_refused(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        pack(Fixed(kind), torch.randn(1, 5, 4), tmp_path / "m.gsm", length="x:1=1..8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ids=1x6:9..3", "expected LOW <= HIGH"),
        ("1x6,1x7", "expected a name for each of several inputs"),
        ("ids:1x6", "expected .NAME=.SHAPE"),
    ],
)
def test_texts_of_examples(text: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        examples_of(text)
