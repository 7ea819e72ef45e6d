"""Folding by hand, and what must not fold."""

import numpy as np
import torch
from torch import Tensor, nn

from gossamer.export.capture import capture
from gossamer.export.fold import fold
from gossamer.export.lower import lower
from gossamer.export.subject import subject_of
from gossamer.export.weights import pack_weights


def nodes_of(model: nn.Module, example: Tensor, masks: dict[str, Tensor] | None = None):
    captured = capture(subject_of(model, example), max_batch=4)
    return fold(lower(captured, masks or {}))


def norm(features: int, kind: type[nn.Module] = nn.BatchNorm1d) -> nn.Module:
    """y = (x - 1) / sqrt(4) * 6 + 5 = 3 x + 2, with eps = 0."""
    layer = kind(features, eps=0.0)
    with torch.no_grad():
        layer.running_mean.fill_(1)
        layer.running_var.fill_(4)
        layer.weight.fill_(6)
        layer.bias.fill_(5)
    return layer


def test_linear_and_norm_by_hand() -> None:
    fc = nn.Linear(2, 2)
    with torch.no_grad():
        fc.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 4.0]]))
        fc.bias.copy_(torch.tensor([10.0, 20.0]))
    mask = torch.tensor([[True, False], [True, True]])
    (node,) = nodes_of(nn.Sequential(fc, norm(2)), torch.zeros(1, 2), {"0.weight": mask})
    np.testing.assert_array_equal(node.weights["weight"].values, [[3, 0], [0, 12]])  # 3 W, masked
    np.testing.assert_array_equal(node.weights["bias"].values, [32, 62])  # 3 b + 2
    np.testing.assert_array_equal(node.weights["weight"].mask, mask.numpy())


def test_convolution_without_bias_gets_one() -> None:
    (node,) = nodes_of(
        nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), norm(2, nn.BatchNorm2d)), torch.zeros(1, 1, 2, 2)
    )
    assert node.weights["bias"].name == "0.bias"
    np.testing.assert_array_equal(node.weights["bias"].values, [2, 2])


def test_two_norms_become_one() -> None:
    (node,) = nodes_of(nn.Sequential(norm(3), norm(3)), torch.zeros(1, 3))
    assert node.op == "channel_affine"
    np.testing.assert_array_equal(node.weights["scale"].values, [9, 9, 9])  # 3 (3 x + 2) + 2
    np.testing.assert_array_equal(node.weights["shift"].values, [8, 8, 8])


class TwoConsumers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(2, 2), norm(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        return self.bn(y) + y


class AlsoOutput(TwoConsumers):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.fc(x)
        return self.bn(y), y


class TokenNorm(nn.Module):
    """Batch norm over the tokens T of [N, T, K]: not over the rows of the product before it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(2, 3), norm(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.fc(x))


def test_what_must_not_fold() -> None:
    for model, example in (
        (TwoConsumers(), torch.zeros(1, 2)),
        (AlsoOutput(), torch.zeros(1, 2)),
        (TokenNorm(), torch.zeros(1, 3, 2)),
    ):
        assert [node.op for node in nodes_of(model, example)][:2] == ["linear", "channel_affine"]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(2, 2), norm(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bn(self.fc(self.fc(x))))


def test_a_shared_weight_is_stored_once_for_each_folding() -> None:
    nodes = nodes_of(Shared(), torch.zeros(1, 2))
    packed = pack_weights(nodes, pattern=None, dtype="float32", zeros_are_absent=False)
    assert sorted(packed.weights) == ["fc.bias", "fc.bias#2", "fc.weight", "fc.weight#2"]
    assert [packed.roles[node.name]["weight"] for node in nodes] == ["fc.weight", "fc.weight#2", "fc.weight"]
