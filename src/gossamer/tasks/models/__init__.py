"""Networks by name: those of the shipped tasks and those that benchmarks measure, with the parameter names of torchvision, timm and
transformers, so that checkpoints of those libraries fit (none of them is needed).

`package.module:callable` of the command line finds them here: `gossamer bench gossamer.tasks.models:resnet50 --input 1x3x224x224`.
"""

from gossamer.tasks.models.bert import Bert, bert_base
from gossamer.tasks.models.efficientnet import EfficientNetLite, efficientnet_lite0
from gossamer.tasks.models.mobilenet import MobileNetV1, MobileNetV2, mobilenet_v1, mobilenet_v2
from gossamer.tasks.models.recurrent import gru, lstm
from gossamer.tasks.models.resnet import ResNet, resnet18, resnet50
from gossamer.tasks.models.small import ResNet20, mlp, resnet20
from gossamer.tasks.models.vision_transformer import VisionTransformer, deit_tiny

__all__ = [
    "Bert",
    "EfficientNetLite",
    "MobileNetV1",
    "MobileNetV2",
    "ResNet",
    "ResNet20",
    "VisionTransformer",
    "bert_base",
    "deit_tiny",
    "efficientnet_lite0",
    "gru",
    "lstm",
    "mlp",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet18",
    "resnet20",
    "resnet50",
]
