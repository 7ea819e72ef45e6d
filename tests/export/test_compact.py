"""Compact layers are packed from their kept entries: the same file as from the dense form and its masks, without a dense weight."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gossamer
from gossamer import runtime
from gossamer.errors import ExportError
from gossamer.export import PackReport, pack
from gossamer.formats import container
from gossamer.training import MEST
from gossamer.training.compact import CompactLayer, SparseConv2d, SparseLinear, to_dense

IMAGE, VECTOR = torch.Size([2, 16, 9, 9]), torch.Size([2, 64])
# pattern, kept of 96 x 64 entries, format of the file
PATTERNS = [
    ("unstructured", 1000, "unstructured"),
    ("unstructured", 5000, "dense"),  # smaller than gaps
    ("unstructured", 96 * 64, "dense"),
    ("block:4x1", 1200, "block"),
    ("block:1x8", 1200, "block"),
    ("gs:8,8", 96 * 16, "gather_scatter"),
    ("gs:8,2", 96 * 16, "gather_scatter"),
    ("2:4", 96 * 32, "n_of_m"),
    ("window:8", 96 * 16, "window"),
]


def mlp(pattern: str, kept: int) -> nn.Sequential:
    """A compact layer with room to spare, its norm, and a dense layer."""
    torch.manual_seed(0)
    compact = SparseLinear(64, 96, num_kept=kept, capacity=min(kept + 32, 96 * 64), pattern=pattern, seed=1)
    model = nn.Sequential(compact, nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 10))
    norm = model[1]
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        compact.values[kept:] = 7.0  # what lies behind the last kept entry is no weight
        compact.values[3] = 0.0  # a kept zero is kept
    return model.eval()


def masks_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """As a masked run would give them."""
    return {
        f"{name}.weight": layer.mask()
        for name, layer in model.named_modules()
        if isinstance(layer, CompactLayer)
    }


def contents(path: Path) -> tuple[dict[str, object], dict[str, bytes]]:
    """Manifest without the measured errors, and the bytes of all tensors."""
    metadata, tensors = container.parse(path.read_bytes())
    manifest = json.loads(metadata["gossamer"])
    assert manifest.pop("verification")["engine"] == "native"
    return manifest, {name: tensor.tobytes() for name, tensor in tensors.items()}


def check_same_file(model: nn.Module, size: torch.Size, pattern: str, dtype: str, folder: Path) -> PackReport:
    example = torch.randn(size)
    ours, theirs = folder / "compact.safetensors", folder / "dense.safetensors"
    report = pack(model, example, ours, dtype=dtype, max_batch=3)
    before = model(example).detach()
    masks = masks_of(model)
    pack(to_dense(model), example, theirs, masks=masks, pattern=pattern, dtype=dtype, max_batch=3)
    assert contents(ours) == contents(theirs)
    session = runtime.load(ours)
    found = next(iter(session.run({session.inputs[0].name: example.numpy()}).values()))
    scale = float(before.abs().max())
    assert np.abs(found - before.numpy()).max() <= (2e-3 if dtype == "float16" else 1e-5) * scale
    return report


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("pattern", "kept", "format"), PATTERNS)
def test_linear_layers(pattern: str, kept: int, format: str, dtype: str, tmp_path: Path):
    report = check_same_file(mlp(pattern, kept), VECTOR, pattern, dtype, tmp_path)
    row = report.weights[0]
    assert (row.name, row.shape, row.num_kept, row.num_weights) == ("0.weight", (96, 64), kept, 96 * 64)
    assert row.format == format
    assert report.notes == ()


CONVOLUTIONS = [
    ({"kernel_size": 3, "padding": 1}, "unstructured", 500, "unstructured"),
    ({"kernel_size": 3, "padding": 1, "stride": 2, "bias": False}, "block:4x1", 480, "block"),
    ({"kernel_size": 1}, "gs:8,8", 96, "gather_scatter"),
    ({"kernel_size": (3, 1), "padding": "same", "dilation": 2}, "unstructured", 200, "unstructured"),
    ({"kernel_size": 3, "padding": 1}, "taps:4", 480, "unstructured"),
    ({"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}, "unstructured", 500, "unstructured"),
    ({"kernel_size": 3, "padding": 1, "groups": 4}, "unstructured", 200, "dense"),
]


@pytest.mark.parametrize(("settings", "pattern", "kept", "format"), CONVOLUTIONS)
def test_convolutions(settings: dict[str, object], pattern: str, kept: int, format: str, tmp_path: Path):
    torch.manual_seed(0)
    dense = nn.Conv2d(16, 24, device="meta", **settings)
    compact = SparseConv2d(dense, num_kept=kept, capacity=kept + 40, pattern=pattern, seed=1)
    model = nn.Sequential(
        compact, nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3)
    )
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    with torch.no_grad():
        compact.values[kept:] = 7.0
    report = check_same_file(model.eval(), IMAGE, pattern, "float16", tmp_path)
    row = report.weights[0]
    assert (row.name, row.format, row.num_kept) == ("0.weight", format, kept)


@pytest.mark.parametrize("pattern", ["unstructured", "block:4x1", "gs:8,8"])
def test_a_model_that_was_edited(pattern: str, tmp_path: Path):
    """EM&S stops above its target and below it; what is packed are the kept entries of that moment, never the room for the peak."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 8))
    method = MEST(sparsity=0.4, kind="em&s", mutation=0.1, every=2, stop=6, pattern=pattern)
    gossamer.compact_(model, method)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparsifier = gossamer.Sparsifier(model, method, optimizer)
    kept = []
    for _ in range(7):
        optimizer.zero_grad()
        model(torch.randn(VECTOR)).square().mean().backward()
        optimizer.step()
        kept.append(model[2].num_kept)
    report = pack(model, torch.randn(VECTOR), tmp_path / "a.safetensors", masks=sparsifier)
    assert kept[0] > kept[-1] == report.weights[2].num_kept == model[2].num_kept < model[2].capacity
    sparsifier.finalize()
    check_same_file(model, VECTOR, pattern, "float16", tmp_path)


def test_a_transformer_with_a_free_length(tmp_path: Path):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    model = nn.Sequential(nn.Embedding(50, 32), encoder, nn.Linear(32, 8))
    gossamer.compact_(model, 0.3)
    report = pack(
        model, torch.randint(0, 50, (2, 12)), tmp_path / "a.safetensors", length="x:1=1..16", max_batch=2
    )
    rows = {row.name: row.num_kept for row in report.weights}
    for name, module in model.named_modules():
        if isinstance(module, CompactLayer):
            assert rows[f"{name}.weight"] == module.num_kept < module.in_features * module.out_features
    assert "length 1 to 16" in report.batch


def test_a_named_pattern_goes_before_the_layers_own(tmp_path: Path):
    model = mlp("gs:8,8", 96 * 16)
    report = pack(model, torch.randn(VECTOR), tmp_path / "a.safetensors", pattern="unstructured")
    assert report.weights[0].format == "unstructured"


def test_a_compact_layer_is_the_model_and_a_layer_that_is_used_twice(tmp_path: Path):
    layer = SparseLinear(64, 64, num_kept=500, seed=0)
    twice = nn.Sequential(layer, nn.ReLU(), layer)
    check_same_file(nn.Sequential(layer, nn.ReLU(), layer), VECTOR, "unstructured", "float16", tmp_path)
    report = pack(twice, torch.randn(VECTOR), tmp_path / "a.safetensors")
    assert [row.num_kept for row in report.weights] == [500, 64]  # one weight for both
    report = pack(layer, torch.randn(VECTOR), tmp_path / "a.safetensors")
    assert [row.num_kept for row in report.weights] == [500, 64]


def test_zeros_of_the_other_layers_are_weights(tmp_path: Path):
    model = mlp("unstructured", 1000)
    with torch.no_grad():
        model[3].weight[:, :90] = 0
    rows = {row.name: row for row in pack(model, torch.randn(VECTOR), tmp_path / "a.safetensors").weights}
    assert (rows["3.weight"].num_kept, rows["3.weight"].format) == (960, "dense")
    masks = {"3.weight": model[3].weight != 0}
    report = pack(model, torch.randn(VECTOR), tmp_path / "a.safetensors", masks=masks)
    assert {row.name: row.num_kept for row in report.weights}["3.weight"] == 60


def test_a_mask_for_a_compact_layer_is_its_places_or_refused(tmp_path: Path):
    model = mlp("unstructured", 1000)
    pack(model, torch.randn(VECTOR), tmp_path / "a.safetensors", masks=masks_of(model))
    other = masks_of(model)["0.weight"]
    other[0] = ~other[0]
    for mask in (other, other.float(), torch.ones(96, 64, dtype=torch.bool)):
        with pytest.raises(
            ExportError, match=r"mask '0.weight': expected no mask for a compact layer.*1000 of \[96, 64\]"
        ):
            pack(model, torch.randn(VECTOR), tmp_path / "a.safetensors", masks={"0.weight": mask})


def test_masks_of_a_sparsifier_are_asked_for_dense_layers_alone(tmp_path: Path):
    model = mlp("unstructured", 1000)
    with torch.no_grad():
        model[3].weight[:, :90] = 0
    kept = {"3.weight": model[3].weight != 0}
    pack(model, torch.randn(VECTOR), tmp_path / "a.safetensors", masks=Masker(Masks(kept)))
    pack(model, torch.randn(VECTOR), tmp_path / "b.safetensors", masks=kept)
    assert contents(tmp_path / "a.safetensors") == contents(tmp_path / "b.safetensors")


class Masks(Mapping[str, torch.Tensor]):
    """As a Sparsifier has them: those of compact layers would be made dense when asked for."""

    def __init__(self, kept: Mapping[str, torch.Tensor]) -> None:
        self.kept = kept

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("0.weight", *self.kept))

    def __len__(self) -> int:
        return 1 + len(self.kept)


class Masker:
    """A Sparsifier, as far as packing asks it."""

    def __init__(self, masks: Mapping[str, torch.Tensor]) -> None:
        self.masks = masks


def test_the_model_is_left_as_it_was(tmp_path: Path):
    model = mlp("unstructured", 1000)
    calls: list[tuple[int, ...]] = []
    model[0].register_forward_pre_hook(lambda _module, args: calls.append(tuple(args[0].shape)))
    before, keys = model[0], list(model.state_dict())
    pack(model, torch.randn(VECTOR), tmp_path / "a.safetensors")
    assert model[0] is before
    assert list(model.state_dict()) == keys
    calls.clear()
    model(torch.randn(VECTOR))
    assert calls == [(2, 64)]
    with pytest.raises(ExportError, match="runtime lacks"):
        pack(nn.Sequential(model, Fourier()), torch.randn(VECTOR), tmp_path / "b.safetensors")
    assert model[0] is before


class Fourier(nn.Module):
    """Something that no packed file holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft(x).real


BIG = """
import sys, torch
from torch import nn
from gossamer import runtime
from gossamer.export import pack
from gossamer.training import MEST
from gossamer.training.compact import SparseLinear
side = 2**16
model = nn.Sequential(SparseLinear(side, side, num_kept=100_000, seed=0), nn.BatchNorm1d(side), nn.ReLU()).eval()
model[1].running_var.uniform_(0.5, 2)
example = torch.randn(2, side)
report = pack(model, example, sys.argv[1], max_batch=2)
assert report.weights[0].num_kept == 100_000 and report.weights[0].num_weights == side * side
session = runtime.load(sys.argv[1])
found = torch.from_numpy(session.run({"x": example.numpy()})["output"])
assert session.engine == "native"
assert float((found - model(example)).abs().max()) < 1e-2
"""


def test_a_layer_whose_dense_form_would_not_fit(tmp_path: Path):
    """2^32 weights: 16 GiB in float32, a byte each would be 4 GiB. The process may have 3 GiB of data."""
    limit = 3 * 2**30
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(tmp_path / "big.safetensors")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    assert done.returncode == 0, done.stderr
