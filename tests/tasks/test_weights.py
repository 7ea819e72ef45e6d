"""Weights from files that run no code."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gossamer.errors import CheckpointError
from gossamer.tasks.weights import load_weights, read_weights


def net(inputs=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize("form", ["safetensors", "plain", "model", "state_dict", "parallel"])
def test_forms_of_a_state_dict(tmp_path, form):
    state = net().state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "parallel":
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
    else:
        torch.save(state if form == "plain" else {form: state, "epoch": 3}, path)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    load_weights(model, path)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_another_model_is_named(tmp_path):
    torch.save(net(5).state_dict(), tmp_path / "w.pt")
    with pytest.raises(
        CheckpointError, match=r"another model than Sequential: shapes: 0\.weight is 3x5, expected 3x4"
    ):
        load_weights(net(), tmp_path / "w.pt")
    torch.save(nn.Linear(4, 3).state_dict(), tmp_path / "w.pt")
    with pytest.raises(
        CheckpointError, match=r"missing: 0\.weight, 0\.bias, 1\.weight and 3 more; not in the model: weight"
    ):
        load_weights(net(), tmp_path / "w.pt")


class Trap:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_with_code_is_refused(tmp_path, capsys):
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Trap()))
    torch.save({"a": Trap()}, tmp_path / "v.pt")
    for name in ("w.pt", "v.pt"):
        with pytest.raises(CheckpointError, match="without running code"):
            read_weights(tmp_path / name)
    assert "code ran" not in capsys.readouterr().out


def test_unreadable_files(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        read_weights(tmp_path / "absent.pt")
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 5)
    with pytest.raises(CheckpointError, match=r"w\.safetensors"):
        read_weights(tmp_path / "w.safetensors")
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="state dict"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "got an empty file"),
        (b".", "no checkpoint"),  # IndexError of the unpickler
        (b"h\x05.", "no checkpoint"),  # KeyError
        (b"G\x00.", "no checkpoint"),  # struct.error
        (b"weights?", "no checkpoint"),
        (b"PK\x03\x04 no zip", "no checkpoint"),
    ],
)
def test_junk_is_one_clear_error(content, words, tmp_path):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"w.pt: expected weights that load without .*{words}"):
        read_weights(tmp_path / "w.pt")
