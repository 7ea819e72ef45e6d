"""Writing safetensors one tensor after the other: safetensors' own reader reads them, and no two lazily made ones live at a time."""

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from gossamer.errors import CheckpointError
from gossamer.recipes.tensors import write_tensors
from gossamer.training.compact import DenseState, SparseLinear


def test_safetensors_reads_it(tmp_path: Path):
    kinds = (
        torch.float64,
        torch.int64,
        torch.float32,
        torch.int32,
        torch.float16,
        torch.bfloat16,
        torch.int16,
        torch.uint8,
    )
    tensors = {f"t{number}": torch.arange(6).reshape(2, 3).to(kind) for number, kind in enumerate(kinds)}
    tensors |= {
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 4),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "odd": torch.arange(3, dtype=torch.int8),
    }
    write_tensors(tmp_path / "a.safetensors", tensors, metadata={"pattern": "2:4"})
    found = load_file(tmp_path / "a.safetensors")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"pattern": "2:4"}
    write_tensors(tmp_path / "b.safetensors", dict(reversed(tensors.items())), metadata={"pattern": "2:4"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


class Counted(Mapping[str, Tensor]):
    """Makes its tensors when asked, and counts how many of them are alive."""

    def __init__(self) -> None:
        self.alive = self.most = 0

    def _gone(self) -> None:
        self.alive -= 1

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.full((1000,), float(name))
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(tensor, self._gone)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter("12345")

    def __len__(self) -> int:
        return 5


def test_one_at_a_time(tmp_path: Path):
    tensors = Counted()
    write_tensors(tmp_path / "a.safetensors", tensors)
    assert (tensors.alive, tensors.most) == (0, 1)
    assert load_file(tmp_path / "a.safetensors")["3"][0] == 3


def test_the_dense_state_of_compact_layers(tmp_path: Path):
    model = nn.Sequential(
        SparseLinear(64, 32, num_kept=100, capacity=120, seed=0), nn.BatchNorm1d(32), nn.Linear(32, 4)
    )
    write_tensors(tmp_path / "dense.safetensors", DenseState(model))
    dense = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 4))
    dense.load_state_dict(load_file(tmp_path / "dense.safetensors"))
    x = torch.randn(5, 64)
    assert torch.allclose(dense.eval()(x), model.eval()(x), atol=1e-6)
    assert dense[0].weight.count_nonzero() == 100


def test_what_cannot_be_written(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"got a tensor of torch\.complex64"):
        write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2, dtype=torch.complex64)})
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="folder could not be saved"):
        write_tensors(tmp_path / "folder", {"a": torch.zeros(2)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]
