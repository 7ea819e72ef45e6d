"""What each construct becomes, and the one error that lists everything unsupported."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gossamer.errors import ExportError
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
        self.conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        y = torch.cumsum(y, 1)
        y = F.leaky_relu(y)
        return y * y.mean((2, 3), keepdim=True)


def test_every_unsupported_operation_is_listed_with_its_line() -> None:
    with pytest.raises(ExportError) as caught:
        nodes_of(Unsupported(), torch.zeros(1, 3, 6, 6))
    text = str(caught.value)
    assert text.startswith("the model uses 5 operations that the runtime lacks:")
    for line in (
        "pad: padding with mode 'reflect'",
        "group_norm\n",
        "y = self.norm(self.conv(x))  (in norm)",
        "nearest supported form: batch_norm (folded away) or layer_norm",
        "cumsum\n",
        "y = torch.cumsum(y, 1)",
        "leaky_relu\n",
        "nearest supported form: relu, or relu(x) - a * relu(-x)",
        "mul: product of two values that both depend on the input",
    ):
        assert line in text
    assert text.count("test_lower.py:") == 5


class Bad(nn.Module):
    """One refused construct, chosen by name."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.up = nn.ConvTranspose2d(2, 2, 2)
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm2d(2, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.kind)(x)

    def recurrent(self, x: Tensor) -> Tensor:
        return self.lstm(x[:, 0])[0]

    def permuted(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)

    def viewed(self, x: Tensor) -> Tensor:
        return torch.softmax(x.view(x.shape[0], 4, 2, 4), 1)

    def broadcast(self, x: Tensor) -> Tensor:
        return x + x.mean(3, keepdim=True)

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

    def conv1d(self, x: Tensor) -> Tensor:
        return F.conv1d(x.flatten(2), torch.ones(1, 2, 3))

    def sized(self, x: Tensor) -> Tensor:
        return x * x.shape[0]

    def slice_of_changed(self, x: Tensor) -> Tensor:
        x = x * 2
        part = x[:, :1]
        return x.relu_()[:, 1:] + part

    def changed_slice(self, x: Tensor) -> Tensor:
        x = x * 2
        x.chunk(2, 1)[0].relu_()
        return x

    def autocast(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.linear(x)

    def selected(self, x: Tensor) -> Tensor:
        return x.flatten(2)[:, 0].relu()

    def transposed(self, x: Tensor) -> Tensor:
        return torch.relu(x.transpose(2, 3)).flatten(1)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("recurrent", "no recurrent operator exists yet"),
        ("up", "conv_transpose2d"),
        ("norm", "statistics of the batch"),
        ("permuted", r"permutation of \[n, 2, 4, 4\] to \[n, 4, 4, 2\]"),
        ("viewed", r"reshape of \[n, 2, 4, 4\] to \[n, 4, 2, 4\]"),
        ("broadcast", r"sum of the shapes \[n, 2, 4, 4\] and \[n, 2, 4, 1\]"),
        ("dropped", "dropout that is active at inference"),
        ("constant", "output 'output_1': an output that does not depend on the input"),
        ("random", "rand"),
        ("along_batch", "softmax over the batch"),
        ("doubled", "conversion to float64"),
        ("conv1d", r"kernel \(1, k\) on \[N, C, 1, L\]"),
        ("sized", "a number computed from the input's size"),
        ("slice_of_changed", "relu_: an in-place operation on a slice, or on a value with slices"),
        ("changed_slice", "relu_: an in-place operation on a slice"),
        ("autocast", r"no torch\.autocast inside of forward"),
        ("selected", r"taking 1 of 2 along dimension 1 of \[n, 2, 16\]"),
        ("transposed", "the model uses an operation that"),  # what follows from it is not listed
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

    with pytest.raises(ExportError, match="a change of state"):
        nodes_of(Counter(), torch.ones(1, 3))


def test_a_constant_that_changes_in_place_is_refused() -> None:
    class Into(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = torch.zeros(1, 3)
            total += x
            return total

    captured = capture(subject_of(Into(), torch.ones(1, 3)), max_batch=1)
    with pytest.raises(ExportError, match="an in-place change of a constant"):
        lower(captured, {})


def test_channel_shuffle_is_one_product_with_a_permutation() -> None:
    class Shuffle(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.shape
            return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    (node,) = nodes_of(Shuffle(), torch.zeros(1, 6, 2, 2))
    assert node.op == "conv2d"
    assert node.weights["weight"].values.argmax(1).tolist() == [0, 3, 1, 4, 2, 5]
    assert node.weights["weight"].values.sum() == 6
