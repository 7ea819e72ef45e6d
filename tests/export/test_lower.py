"""What each construct becomes, and the one error that lists everything unsupported."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gossamer.errors import ExportError
from gossamer.export import pack
from gossamer.export.capture import capture
from gossamer.export.draft import DraftNode
from gossamer.export.fold import fold
from gossamer.export.lower import lower
from gossamer.export.subject import subject_of

from .zoo import build


def nodes_of(model: nn.Module, *example: Tensor) -> list[DraftNode]:
    captured = capture(subject_of(model, example), max_batch=4)
    return fold(lower(captured, {}))


def operations(name: str) -> list[str]:
    model, example = build(name)
    return [node.op for node in nodes_of(model, *example)]


def test_batch_norm_folds_and_shape_operations_vanish() -> None:
    assert operations("vgg") == [
        "conv2d", "relu", "max_pool2d", "conv2d", "relu", "max_pool2d", "adaptive_avg_pool2d", "flatten",
        "linear", "relu", "linear",
    ]  # fmt: skip
    assert operations("functional") == ["conv2d", "relu", "max_pool2d", "flatten", "linear", "sigmoid"]
    assert operations("flat_tokens") == ["linear", "relu", "flatten"]
    assert operations("clamps").count("relu6") == 3


def test_affine_maps_before_a_layer_stay_and_between_layers_fold() -> None:
    # bn1 stays before conv1, bn2 folds into conv1
    assert operations("preactivation") == [
        "channel_affine", "relu", "conv2d", "relu", "conv2d", "add", "adaptive_avg_pool2d", "flatten", "linear",
    ]  # fmt: skip


def test_hand_written_swish_is_silu() -> None:
    assert operations("arithmetic").count("silu") == 1
    assert "sigmoid" not in operations("arithmetic")


def test_padding_goes_into_the_convolution() -> None:
    model = nn.Sequential(nn.ZeroPad2d((1, 2, 3, 4)), nn.Conv2d(1, 1, 3, padding=1))
    (node,) = nodes_of(model, torch.zeros(1, 1, 4, 4))
    assert node.attributes["padding"] == [4, 2, 5, 3]  # top, left, bottom, right
    (same,) = nodes_of(nn.Conv2d(1, 1, (4, 3), padding="same", dilation=(1, 2)), torch.zeros(1, 1, 6, 6))
    assert same.attributes["padding"] == [1, 2, 2, 2]  # 3 over two sides, the odd one at the end; 4 over two


def test_columns_of_a_convolution_are_ordered_kh_kw_c() -> None:
    conv = nn.Conv2d(2, 1, (2, 3), bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(12.0).reshape(1, 2, 2, 3))  # weight[0, c, kh, kw] = 6 c + 3 kh + kw
    (node,) = nodes_of(conv, torch.zeros(1, 2, 4, 4))
    assert node.weights["weight"].values[0].tolist() == [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]


def test_names_are_the_modules_paths() -> None:
    model, example = build("resnet20")
    names = [node.name for node in nodes_of(model, *example)]
    assert {"conv1", "layer1.0.conv1", "layer1.0.relu", "layer1.0.relu#2", "layer1.0.add", "fc"} <= set(names)
    assert len(set(names)) == len(names)


def test_unused_operations_are_not_asked_for() -> None:
    class Auxiliary(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.cumsum(x, 1)
            return x.relu()

    assert [node.op for node in nodes_of(Auxiliary(), torch.zeros(1, 3))] == ["relu"]


class Unsupported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = torch.cumprod(y, 1)
        y = torch.fft.rfft(y).abs()
        y = torch.sort(y, dim=2)[0]
        return y.softmax(0)


def test_every_unsupported_operation_is_listed_with_its_line() -> None:
    with pytest.raises(ExportError) as caught:
        nodes_of(Unsupported(), torch.zeros(1, 3, 6, 6))
    text = str(caught.value)
    assert "operations that the runtime lacks:" in text
    for line in (
        "cumprod",
        "y = torch.cumprod(y, 1)",
        "fft_rfft",
        "sort",
        "nearest supported form: max or argmax over a dimension (topk with k = 1)",
        "softmax: an operation along dimension 0 of [n, 4, 6, 4], which holds the batch",
    ):
        assert line in text
    assert text.count("test_lower.py:") == 4


class Bad(nn.Module):
    """One refused construct, chosen by name."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.norm = nn.BatchNorm2d(2, track_running_stats=False)
        self.conv = nn.Conv3d(2, 2, 1)
        self.projected = nn.LSTM(4, 4, proj_size=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.kind)(x)

    def split_batch(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).view(2, -1, 4, 4).relu().flatten(1)

    def every_other(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ x.flatten(1).t()

    def mean_of_batch(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)

    def part_of_batch(self, x: Tensor) -> Tensor:
        return x[:1].relu()

    def numbered(self, x: Tensor) -> Tensor:
        return x + torch.arange(x.shape[0]).view(-1, 1, 1, 1)

    def dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x)

    def constant(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.relu(), torch.ones(3)

    def random(self, x: Tensor) -> Tensor:
        return x + torch.rand(1)

    def along_batch(self, x: Tensor) -> Tensor:
        return torch.softmax(x, 0)

    def doubled(self, x: Tensor) -> Tensor:
        return x.double().float()

    def volume(self, x: Tensor) -> Tensor:
        return self.conv(x.unsqueeze(2))

    def sized(self, x: Tensor) -> Tensor:
        return x * x.shape[0]

    def joined(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x.flatten(0, 1).unsqueeze(1), 2)

    def projection(self, x: Tensor) -> Tensor:
        return self.projected(x[:, 0])[0]

    def followed(self, x: Tensor) -> Tensor:
        return torch.relu(torch.cumprod(x, 3)).flatten(1)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("norm", "statistics of the batch"),
        ("split_batch", r"reshape of \[2\*n, 4, 4\] to"),
        ("every_other", "a product of every example with every other"),
        ("mean_of_batch", "mean over the batch"),
        ("part_of_batch", "a slice of the batch"),
        ("numbered", "a constant that differs from example to example"),
        ("dropped", "dropout that is active at inference"),
        ("constant", "output 'output_1': an output that does not depend on the input"),
        ("random", "rand"),
        ("along_batch", "which holds the batch"),
        ("doubled", "conversion to float64"),
        ("volume", "conv3d"),
        ("sized", "a number computed from the input's size"),
        ("joined", "whose batch is joined with other sizes"),
        ("projection", "an LSTM with a projection"),
        ("followed", "the model uses an operation that"),  # what follows from it is not listed
    ],
)
def test_refusals(kind: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        nodes_of(Bad(kind), torch.zeros(1, 2, 4, 4))


def test_control_flow_on_values_is_told() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu() if x.sum() > 0 else x

    with pytest.raises(ExportError, match="control flow that depends on values"):
        nodes_of(Branch(), torch.ones(1, 3))


def test_state_that_changes_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x * self.count

    with pytest.raises(ExportError, match="changes its own state"):
        nodes_of(Counter(), torch.ones(1, 3))


def test_a_constant_that_changes_in_place_becomes_a_value() -> None:
    class Into(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = torch.zeros(x.shape[0], 5)
            total[:, 1:4] += x
            return total

    assert {node.op for node in nodes_of(Into(), torch.ones(1, 3))} == {"constant", "slice", "concat"}


def test_channel_shuffle_is_a_permutation() -> None:
    class Shuffle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    nodes = nodes_of(Shuffle(), torch.zeros(1, 6, 2, 2))
    assert [node.op for node in nodes] == ["reshape", "permute", "reshape"]


def test_permutations_that_cancel_leave_nothing() -> None:
    class There(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(1, 0, 2).relu().reshape(5, -1).view(5, x.shape[0], 3).transpose(0, 1)

    assert [node.op for node in nodes_of(There(), torch.zeros(1, 5, 3))] == ["relu"]


def test_a_transposed_convolution_by_hand() -> None:
    layer = nn.ConvTranspose2d(1, 1, (1, 3), stride=(1, 2), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([10.0, 20.0, 30.0]).view(1, 1, 1, 3))
    nodes = nodes_of(layer, torch.zeros(1, 1, 1, 4))
    assert [node.op for node in nodes] == ["conv2d", "pixel_shuffle", "slice"]
    # even places see the input before with tap 2 and their own with tap 0, odd ones their own with tap 1
    assert nodes[0].weights["weight"].values.tolist() == [[30.0, 10.0], [0.0, 20.0]]


def test_a_class_token_joins_a_batch_that_is_fixed_at_one(tmp_path: Path) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.randn(1, 1, 8))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)

    report = pack(Tokens(), torch.randn(1, 5, 8), tmp_path / "m.gsm", dtype="float32", max_batch=1)
    assert report.verification.worst == 0
