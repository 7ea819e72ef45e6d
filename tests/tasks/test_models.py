"""Shapes, names and sizes of the shipped networks."""

import pytest
import torch
from torch import nn

from gossamer.tasks import models
from gossamer.tasks.models import mlp, resnet20


def test_resnet20_has_torchvision_names() -> None:
    names = set(dict(resnet20().named_parameters()))
    assert {
        "conv1.weight",
        "bn1.weight",
        "layer1.0.conv1.weight",
        "layer3.2.bn2.bias",
        "fc.weight",
        "fc.bias",
    } <= names
    assert {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.weight"} <= names
    assert not any(name.startswith("layer1.0.downsample") for name in names)


def test_resnet20_weights_by_hand() -> None:
    # stem; stage 1: 6 of 16x16x9; stage 2: 16x32x9, 5 of 32x32x9, 16x32; stage 3 likewise; linear
    expected = 144 + 6 * 2304 + 4608 + 5 * 9216 + 512 + 18432 + 5 * 36864 + 2048 + 640
    weights = [m.weight.numel() for m in resnet20().modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sum(weights) == expected
    assert len(weights) == 19 + 2 + 1  # 19 convolutions, 2 shortcuts, 1 linear


@pytest.mark.parametrize(
    ("size", "channels", "classes", "width"), [(28, 1, 10, 16), (32, 3, 100, 8), (5, 2, 3, 4)]
)
def test_resnet20_shapes(size: int, channels: int, classes: int, width: int) -> None:
    model = resnet20(classes, channels, width).eval()
    assert model(torch.zeros(2, channels, size, size)).shape == (2, classes)


def test_mlp() -> None:
    model = mlp(num_classes=3, in_features=12, hidden=(7,))
    assert model(torch.zeros(2, 3, 2, 2)).shape == (2, 3)
    assert mlp(hidden=())(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


@pytest.mark.parametrize(
    ("make", "shape", "outputs"),
    [
        (models.resnet18, (2, 3, 64, 64), (2, 1000)),
        (models.resnet50, (1, 3, 64, 64), (1, 1000)),
        (models.mobilenet_v1, (1, 3, 64, 64), (1, 1000)),
        (models.mobilenet_v2, (1, 3, 64, 64), (1, 1000)),
        (models.efficientnet_lite0, (1, 3, 64, 64), (1, 1000)),
        (models.deit_tiny, (1, 3, 224, 224), (1, 1000)),
    ],
)
def test_image_networks_give_logits(make, shape, outputs):
    with torch.no_grad():
        assert make().eval()(torch.zeros(shape)).shape == outputs


def test_bert_takes_tokens_of_any_length():
    model = models.bert_base(vocabulary=100).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 2)


def test_parameter_names_fit_checkpoints_of_other_libraries():
    """A few names of torchvision, timm and transformers (without `bert.`), shapes included."""
    expected = {
        models.resnet50: {"layer4.2.conv3.weight": (2048, 512, 1, 1), "layer1.0.downsample.1.weight": (256,)},
        models.mobilenet_v2: {"features.1.conv.0.0.weight": (32, 1, 3, 3), "classifier.1.weight": (1000, 1280)},
        models.efficientnet_lite0: {"blocks.6.0.conv_pwl.weight": (320, 1152, 1, 1), "conv_head.weight": (1280, 320, 1, 1)},
        models.deit_tiny: {"blocks.11.attn.qkv.weight": (576, 192), "pos_embed": (1, 197, 192)},
        models.bert_base: {"encoder.layer.11.attention.self.query.weight": (768, 768),
                           "encoder.layer.0.intermediate.dense.bias": (3072,), "pooler.dense.weight": (768, 768)},
    }  # fmt: skip
    for make, names in expected.items():
        state = make().state_dict()
        assert {name: tuple(state[name].shape) for name in names} == names
