"""Whole models: packed and torch outputs agree, masks decide, mistakes are refused with useful sentences."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gossamer.errors import ExportError
from gossamer.export import pack
from gossamer.export.agreement import compare, relative
from gossamer.formats import packed_file, unpack
from gossamer.graph import ImagePreprocessing
from gossamer.runtime.threads import usable_cpus

from .zoo import MODELS, build, masks_of

BLOCK = ImagePreprocessing(size=(4, 4), channels=1, mean=(0.5,), std=(0.5,))


@pytest.mark.parametrize("name", MODELS)
def test_packed_equals_torch_in_float32(name: str, tmp_path: Path) -> None:
    model, example = build(name)
    report = pack(model, example, tmp_path / "m.gsm", dtype="float32", max_batch=3, tolerance=1e-5)
    assert report.verification.worst <= 1e-5
    expected = ["3"] if name == "fixed_batch" else ["1", "2", "3"]
    assert list(report.verification.errors) == expected
    assert report.bytes == (tmp_path / "m.gsm").stat().st_size


@pytest.mark.parametrize("name", ["resnet50", "shared_conv", "tied", "arithmetic", "tokens"])
def test_masks_decide_whatever_the_weights_hold(name: str, tmp_path: Path) -> None:
    model, example = build(name)
    masks = masks_of(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = pack(
        model, example, tmp_path / "m.gsm", masks=masks, dtype="float32", max_batch=2, tolerance=1e-5
    )
    assert report.verification.worst <= 1e-5
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    file = packed_file.read(tmp_path / "m.gsm")
    for key, mask in masks.items():
        if key in file.weights:
            order = (0, 2, 3, 1) if mask.dim() == 4 else (0, 1)
            matrix = mask.permute(order).reshape(mask.shape[0], -1).numpy()
            np.testing.assert_array_equal(unpack(file.weights[key])[1], matrix)


def test_folding_keeps_masked_zeros_absent_and_kept_zeros_stored(tmp_path: Path) -> None:
    conv = nn.Conv2d(2, 3, 2, bias=False)
    norm = nn.BatchNorm2d(3)
    nn.init.zeros_(norm.weight)  # folding makes every weight zero; the mask is the truth all the same
    mask = torch.zeros(conv.weight.shape, dtype=torch.bool)
    mask[:, 1, 0, 1] = True
    report = pack(
        nn.Sequential(conv, norm), torch.randn(1, 2, 4, 4), tmp_path / "m.gsm", masks={"0.weight": mask}
    )
    assert [(w.name, w.num_kept) for w in report.weights if len(w.shape) == 2] == [("0.weight", 3)]
    _, kept = unpack(packed_file.read(tmp_path / "m.gsm").weights["0.weight"])
    np.testing.assert_array_equal(
        np.flatnonzero(kept[0]), [3]
    )  # column (kh 0, kw 1, c 1) = (0 * 2 + 1) * 2 + 1


def test_format_of_every_weight_is_chosen_and_explained(tmp_path: Path) -> None:
    layers = {k: nn.Linear(16, 16) for k in ("legal", "illegal", "full", "nearly")}
    model = nn.Sequential(*layers.values())
    legal = torch.zeros(16, 16, dtype=torch.bool)
    legal[:, ::4] = True
    illegal = legal.clone()
    illegal[0, 0:3] = True
    nearly = torch.ones(16, 16, dtype=torch.bool)
    nearly[0, 0] = False
    masks = {"0.weight": legal, "1.weight": illegal, "3.weight": nearly}
    report = pack(model, torch.randn(1, 16), tmp_path / "m.gsm", masks=masks, pattern="1:4")
    found = {w.name: (w.format, w.reason) for w in report.weights if len(w.shape) == 2}
    assert found["0.weight"] == ("n_of_m", "the mask is 1:4")
    assert found["1.weight"][0] == "unstructured"
    assert found["1.weight"][1].startswith("the mask is not 1:4")
    assert found["2.weight"] == ("dense", "nothing is absent")
    assert found["3.weight"][0] == "dense"
    assert "smaller" in found["3.weight"][1]
    assert "0.weight" in str(report)
    assert report.to_json()["sparsity"] == pytest.approx((192 + 190 + 0 + 1) / 1024)


def test_without_masks_zeros_are_absent(tmp_path: Path) -> None:
    fc = nn.Linear(8, 8)
    with torch.no_grad():
        fc.weight[:, 1:] = 0
    report = pack(fc, torch.randn(1, 8), tmp_path / "m.gsm")
    assert [w.num_kept for w in report.weights if w.name == "weight"] == [8]
    assert "zeros of the weights count as absent" in report.notes[0]
    full = pack(fc, torch.randn(1, 8), tmp_path / "m.gsm", masks={})
    assert [w.num_kept for w in full.weights if w.name == "weight"] == [64]


def test_manifest_carries_what_was_given(tmp_path: Path) -> None:
    block = BLOCK
    model, example = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), torch.randn(1, 1, 4, 4)
    given = {
        "labels": ["a", "b"],
        "metrics": {"accuracy": 0.5},
        "recipe": {"seed": 1},
        "license": "MIT",
        "name": "tiny",
    }
    pack(model, example, tmp_path / "m.gsm", preprocessing=block, max_batch=7, **given)
    manifest = packed_file.read(tmp_path / "m.gsm").manifest
    assert manifest.labels == ("a", "b")
    assert manifest.preprocessing == block.to_json()
    assert manifest.metrics == {"accuracy": 0.5}
    assert manifest.license == "MIT"
    assert manifest.network.name == "tiny"
    assert manifest.network.dims["n"].max == 7
    assert manifest.verification is not None
    assert set(manifest.verification) == {"engine", "tolerance", "worst_relative_error", "relative_errors"}


def test_modes_come_back_and_wrappers_are_taken_off(tmp_path: Path) -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9), nn.BatchNorm1d(4)).train()
    inner[2].eval()
    compiled = torch.compile(inner)
    masks = {"_orig_mod.0.weight": torch.eye(4, dtype=torch.bool)}
    report = pack(compiled, torch.randn(1, 4), tmp_path / "m.gsm", masks=masks)
    assert [module.training for module in inner] == [True, True, False]
    assert inner.training
    assert {w.name for w in report.weights} == {"0.weight", "0.bias"}


def test_channels_last_weights(tmp_path: Path) -> None:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    example = torch.randn(2, 3, 5, 5).to(memory_format=torch.channels_last)
    assert pack(model, example, tmp_path / "m.gsm", dtype="float32").verification.worst < 1e-5


def test_names_of_inputs_and_outputs(tmp_path: Path) -> None:
    for name, inputs, outputs in (
        ("two_outputs", ["x"], ["logits", "extra_0", "hidden"]),
        ("two_inputs", ["features", "image"], ["output"]),
        ("padding", ["x"], ["output_0", "output_1"]),
        ("dataclass", ["x"], ["logits"]),
    ):
        model, example = build(name)
        pack(model, example, tmp_path / "m.gsm", dtype="float32", max_batch=2)
        network = packed_file.read(tmp_path / "m.gsm").manifest.network
        assert [value.name for value in network.inputs] == inputs
        assert [value.name for value in network.outputs] == outputs
    model, (features, image) = build("two_inputs")
    pack(model, {"image": image, "features": features}, tmp_path / "m.gsm", max_batch=2)
    network = packed_file.read(tmp_path / "m.gsm").manifest.network
    assert [value.name for value in network.inputs] == ["image", "features"]


def test_fixed_batch_says_so(tmp_path: Path) -> None:
    model, example = build("fixed_batch")
    report = pack(model, example, tmp_path / "m.gsm")
    assert report.batch == "batch 3"
    assert any("the batch is fixed at 3" in note for note in report.notes)
    assert packed_file.read(tmp_path / "m.gsm").manifest.network.dims == {}


class BatchDependent(nn.Module):
    """Another result at batch 1, and no error: torch.export takes the branch of batch 2."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) if x.shape[0] == 1 else torch.sigmoid(x)


def test_a_model_that_branches_on_its_batch_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"computes something else at another batch .* max_batch=1"):
        pack(BatchDependent(), torch.randn(1, 3), tmp_path / "m.gsm", dtype="float32")
    report = pack(BatchDependent(), torch.randn(1, 3), tmp_path / "m.gsm", dtype="float32", max_batch=1)
    assert report.batch == "batch 1"


def test_surroundings_of_low_precision_do_not_matter(tmp_path: Path) -> None:
    before = torch.get_float32_matmul_precision()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = pack(nn.Linear(64, 8), torch.randn(1, 64), tmp_path / "m.gsm", dtype="float32")
    assert report.verification.worst < 1e-5
    assert torch.get_float32_matmul_precision() == before


def test_a_squeeze_without_dimension_is_told(tmp_path: Path) -> None:
    class Squeeze(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x).mean((2, 3), keepdim=True).squeeze()

    with pytest.raises(ExportError, match=r"squeeze\(\) without a dimension"):
        pack(Squeeze(), torch.randn(1, 3, 4, 4), tmp_path / "m.gsm")


def test_what_differs_is_not_written(tmp_path: Path) -> None:
    model = nn.Linear(64, 64)
    (tmp_path / "m.gsm").write_bytes(b"older")
    with pytest.raises(ExportError, match=r"differs from the model: relative error .* at most 1e-09"):
        pack(model, torch.randn(1, 64), tmp_path / "m.gsm", tolerance=1e-9)
    assert [p.name for p in tmp_path.iterdir()] == ["m.gsm"]
    assert (tmp_path / "m.gsm").read_bytes() == b"older"


def test_float16_overflow_names_the_weight(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight[1, 2] = 1e5
    with pytest.raises(ExportError, match=r"weight 'weight': .*65504.*100000.*dtype=\"float32\""):
        pack(model, torch.randn(1, 4), tmp_path / "m.gsm")
    pack(model, torch.randn(1, 4), tmp_path / "m.gsm", dtype="float32")


def test_masks_are_checked(tmp_path: Path) -> None:
    model, example = build("vgg")
    for masks, message in (
        ({"features.0.wieght": torch.ones(8, 3, 3, 3, dtype=torch.bool)}, "nearest: features.0.weight"),
        (
            {"features.0.weight": torch.ones(8, 27, dtype=torch.bool)},
            r"expected the weight's shape \[8, 3, 3, 3\]",
        ),
        ({"features.0.weight": torch.ones(8, 3, 3, 3)}, "expected bool"),
    ):
        with pytest.raises(ExportError, match=message):
            pack(model, example, tmp_path / "m.gsm", masks=masks)


class Sparsifier:
    """As far as packing looks at one."""

    def __init__(self, masks: dict[str, Tensor], pattern: object) -> None:
        self.masks = masks
        self.method = type("Method", (), {"pattern": pattern})()


def test_a_sparsifier_gives_masks_and_pattern(tmp_path: Path) -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, ::2] = True
    sparsifier = Sparsifier({"weight": mask}, "1:2")
    report = pack(nn.Linear(8, 8), torch.randn(1, 8), tmp_path / "m.gsm", masks=sparsifier)
    assert report.weights[0].format == "n_of_m"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"dtype": "bfloat16"}, 'expected "float16" or "float32"'),
        ({"max_batch": 0}, "max_batch: expected an integer from 1"),
        ({"pattern": "2by4"}, "pattern: expected one of unstructured"),
        ({"path": "absent/m.gsm"}, "expected an existing folder"),
        ({"path": "."}, "expected a file name"),
        (
            {"example": torch.zeros(1, 4, dtype=torch.int32)},
            r"expected float32 or int64, got int32; .*\.long\(\)",
        ),
        (
            {"example": torch.zeros(1, 4, dtype=torch.float64)},
            "expected float32 or int64, got float64; convert",
        ),
        ({"length": "x=1..8"}, "length: expected INPUT:DIMENSION=MIN..MAX, such as ids:1=1..512"),
        ({"length": "y:1=1..8"}, r"length: expected inputs \(x\), got 'y'"),
        ({"length": "x:0=1..8"}, "length: expected a dimension of 'x' .* other than the batch, got 0"),
        ({"length": "x:1=5..4"}, "length: expected 1 <= min <= max"),
        ({"states": {"h": "hn"}}, r"states: expected names of inputs \(x\), got 'h'"),
        ({"states": {"x": "hn"}}, r"states: expected an output \(output\) for 'x', got 'hn'"),
        ({"batch_dims": {"x": 2}}, r"batch_dims: expected a dimension of 'x' \(0 to 1\), got 2"),
        ({"example": torch.zeros(0, 4)}, "at least one example"),
        ({"example": torch.zeros(())}, "at least one example"),
        ({"example": ()}, "at least one tensor"),
        ({"example": ("x",)}, "expected a tensor, got str"),
        ({"example": torch.zeros(1, 5)}, "Linear does not run on the example"),
        ({"model": "resnet"}, "expected a torch.nn.Module, got str"),
        ({"model": nn.Linear(4, 4).half()}, r"expected float32 weights, got float16; call model.float\(\)"),
        ({"model": nn.Identity()}, "does nothing"),
        ({"model": torch.jit.trace(nn.Linear(4, 4), torch.zeros(1, 4))}, "got a TorchScript module"),
        ({"example": None}, "example: expected a tensor, .* got NoneType"),
        ({"example": np.zeros((1, 4))}, "got ndarray; torch.from_numpy"),
        ({"max_batch": 2.5}, "max_batch: expected an integer from 1"),
        ({"max_batch": "8"}, "max_batch: expected an integer from 1"),
        ({"tolerance": 0}, "tolerance: expected a number above 0"),
        ({"tolerance": "small"}, "tolerance: expected a number above 0"),
        ({"masks": [1]}, "masks: expected a Sparsifier, .* got list"),
        ({"masks": {"weight": np.ones((4, 4), bool)}}, "expected a bool tensor, got ndarray"),
        ({"labels": "abcd"}, "labels: expected a list of strings"),
        ({"labels": ["a", "b"]}, "labels: expected 4, one for each entry of the output 'output', got 2"),
        ({"metrics": {"loss": float("nan")}}, "metrics: .*write NumPy and torch numbers as float"),
        ({"recipe": {"lr": np.float32(1)}}, "recipe: .*float32 is not JSON"),
        ({"preprocessing": 5}, "preprocessing: expected an ImagePreprocessing, or a mapping"),
        ({"preprocessing": {"kind": "sound"}}, "preprocessing: .*see ImagePreprocessing"),
        (
            {"preprocessing": {**BLOCK.to_json(), "kind": "sound"}},
            'preprocessing kind: expected "image", got "sound"',
        ),
        (
            {"preprocessing": {**BLOCK.to_json(), "std": [0.0]}},
            "preprocessing: expected scale and std above 0",
        ),
        ({"preprocessing": BLOCK}, r"size of an input \(1x4, batch first\), got 1x4x4 \(channels, height"),
        ({"license": 5}, "license: expected a string"),
    ],
)
def test_arguments_are_checked(keywords: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / str(keywords.pop("path", "m.gsm"))
    given = {"model": nn.Linear(4, 4), "example": torch.zeros(1, 4), **keywords}
    with pytest.raises(ExportError, match=message):
        pack(path=path, **given)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_non_finite_models_are_refused(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    with pytest.raises(ExportError, match="weight 'weight': expected finite values"):
        pack(model, torch.zeros(1, 4), tmp_path / "m.gsm")


def test_differences_by_hand() -> None:
    assert compare(np.array([1.0, -3.0]), np.array([1.0, -4.0])) == (1.0, 4.0)
    assert compare(np.zeros(2), np.zeros(2)) == (0.0, 0.0)
    assert (relative(1.0, 4.0), relative(0.0, 0.0), relative(1.0, 0.0)) == (0.25, 0.0, float("inf"))
    with pytest.raises(ExportError, match="the model gives the shape"):
        compare(np.zeros(2), np.zeros(3))
    with pytest.raises(ExportError, match="NaN or infinity"):
        compare(np.zeros(1), np.full(1, np.nan))


def test_one_answer_near_zero_refuses_no_network(tmp_path: Path) -> None:
    """y = a - b of nearly equal products: on the example alone the fp16 error is larger than the answer."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0001, -1.0]]))
    report = pack(model, torch.ones(1, 2), tmp_path / "m.gsm")
    assert report.verification.worst < 1e-3


def test_a_batch_beyond_time_and_memory_is_not_verified_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossamer.export.verify.MEMORY", 16 * 4 * 8)  # eight examples of four numbers
    report = pack(nn.Linear(4, 4), torch.randn(1, 4), tmp_path / "m.gsm", max_batch=1000)
    assert list(report.verification.errors) == ["1", "2", "8"]
    assert any("verified up to batch 8" in note for note in report.notes)


def test_what_lowering_makes_is_no_weight_of_the_model(tmp_path: Path) -> None:
    class Pick(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)[:, :4]

    mask = torch.zeros(8, 8, 1, 1, dtype=torch.bool)
    mask[:, :2] = True
    report = pack(Pick(), torch.randn(1, 8, 2, 2), tmp_path / "m.gsm", masks={"conv.weight": mask})
    assert report.sparsity == 0.75
    assert report.bytes_dense == 4 * (64 + 8)


@pytest.mark.parametrize("size", [(4, 5), (2, 8)])
def test_an_image_of_another_size_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    block = ImagePreprocessing(size=size, channels=1, mean=(0.5,), std=(0.5,))
    with pytest.raises(ExportError, match=f"1x1x4x4, batch first.*got 1x{size[0]}x{size[1]}"):
        pack(model, torch.randn(1, 1, 4, 4), tmp_path / "m.gsm", preprocessing=block.to_json())
    assert list(tmp_path.iterdir()) == []


def test_a_forgotten_batch_is_told(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 32 * 32, 2))
    with pytest.raises(
        ExportError, match=r"does not run on the example .*; the batch comes first: 1x3x32x32$"
    ):
        pack(model, torch.randn(3, 32, 32), tmp_path / "m.gsm")
    with pytest.raises(ExportError) as refused:
        pack(model, torch.randn(3, 30, 30), tmp_path / "m.gsm")
    assert "batch comes first" not in str(refused.value)


def test_more_threads_of_torch_than_cpus_are_no_obstacle(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(usable_cpus() + 1)
    try:
        report = pack(nn.Linear(64, 20), torch.zeros(1, 64), tmp_path / "m.gsm")
    finally:
        torch.set_num_threads(before)
    assert f"{report.bytes:,} bytes, " in str(report)
    assert "(5,200 bytes)" in str(report).splitlines()[0]
