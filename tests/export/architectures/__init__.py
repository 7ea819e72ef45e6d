"""Small-width versions of standard architectures in plain torch: one table, every line packs and equals torch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import convolutional, encoders, sequences, vision


@dataclass(frozen=True, kw_only=True)
class Line:
    """One architecture: how it is made, the shape of an image or sequence, or `tokens` (length and vocabulary of ids)."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = ()
    tokens: tuple[int, int] | None = None
    mask: bool = False

    def example(self) -> tuple[Tensor, ...]:
        """Inputs, batch of two."""
        generator = torch.Generator().manual_seed(1)
        if self.tokens is None:
            return (torch.randn((2, *self.shape), generator=generator),)
        length, words = self.tokens
        ids = torch.randint(1, words, (2, length), generator=generator)
        mask = (torch.arange(length) < torch.tensor([[length], [length - 3]])).long()
        return (ids, mask) if self.mask else (ids,)


IMAGE = (3, 32, 32)

ARCHITECTURES: dict[str, Line] = {
    "alexnet": Line(make=convolutional.AlexNet, shape=(3, 63, 63)),
    "mobilenet_v1": Line(make=convolutional.MobileNetV1, shape=IMAGE),
    "mobilenet_v3": Line(make=convolutional.MobileNetV3, shape=IMAGE),
    "efficientnet": Line(make=convolutional.EfficientNet, shape=IMAGE),
    "mnasnet_lite": Line(make=lambda: convolutional.EfficientNet(lite=True), shape=IMAGE),
    "regnet": Line(make=convolutional.RegNet, shape=IMAGE),
    "resnext": Line(make=lambda: convolutional.RegNet(squeeze=False, groups=4), shape=IMAGE),
    "densenet": Line(make=convolutional.DenseNet, shape=IMAGE),
    "inception": Line(make=convolutional.Inception, shape=IMAGE),
    "googlenet_lrn": Line(make=lambda: convolutional.Inception(lrn=True), shape=IMAGE),
    "squeezenet": Line(make=convolutional.SqueezeNet, shape=IMAGE),
    "shufflenet_v2": Line(make=convolutional.ShuffleNet, shape=IMAGE),
    "ghostnet": Line(make=convolutional.GhostNet, shape=IMAGE),
    "repvgg_blur": Line(make=convolutional.BlurNet, shape=IMAGE),
    "unet_transposed": Line(make=convolutional.UNet, shape=IMAGE),
    "unet_bilinear": Line(make=lambda: convolutional.UNet(upsample="bilinear"), shape=IMAGE),
    "deeplab": Line(make=convolutional.DeepLab, shape=IMAGE),
    "super_resolution": Line(make=convolutional.SuperResolution, shape=(3, 8, 10)),
    "gan_generator": Line(make=convolutional.Generator, shape=(16,)),
    "convnext": Line(make=convolutional.ConvNext, shape=IMAGE),
    "vit": Line(make=vision.Vit, shape=IMAGE),
    "deit_by_hand": Line(make=lambda: vision.Vit(by_hand=True, distilled=True), shape=IMAGE),
    "swin": Line(make=vision.Swin, shape=IMAGE),
    "mlp_mixer": Line(make=vision.Mixer, shape=IMAGE),
    "mobilevit": Line(make=vision.MobileVit, shape=IMAGE),
    "coatnet": Line(make=vision.CoAtNet, shape=IMAGE),
    "poolformer": Line(make=vision.PoolFormer, shape=IMAGE),
    "detr": Line(make=vision.Detr, shape=IMAGE),
    "bert": Line(make=encoders.Bert, tokens=(12, 40), mask=True),
    "distilbert_by_hand": Line(make=lambda: encoders.Bert(by_hand=True, types=False), tokens=(12, 40), mask=True),
    "roberta_positions": Line(make=lambda: encoders.Bert(positions="counted"), tokens=(12, 40), mask=True),
    "torch_encoder": Line(make=encoders.TorchEncoder, tokens=(12, 40), mask=True),
    "torch_encoder_time_first": Line(make=lambda: encoders.TorchEncoder(batch_first=False), tokens=(12, 40), mask=True),
    "gpt": Line(make=encoders.Gpt, tokens=(12, 40)),
    "llama": Line(make=encoders.Llama, tokens=(12, 40)),
    "text_cnn": Line(make=sequences.TextCnn, tokens=(12, 40)),
    "lstm_language": Line(make=sequences.Language, tokens=(9, 40)),
    "gru_bidirectional": Line(make=lambda: sequences.Language(kind="gru", both=True), tokens=(9, 40)),
    "rnn": Line(make=lambda: sequences.Language(kind="rnn"), tokens=(9, 40)),
    "translation": Line(make=sequences.Translation, tokens=(9, 40)),
    "wavenet": Line(make=sequences.WaveNet, shape=(4, 40)),
    "audio_crnn": Line(make=sequences.Crnn, shape=(1, 16, 24)),
    "tcn": Line(make=sequences.Tcn, shape=(4, 30)),
}  # fmt: skip
