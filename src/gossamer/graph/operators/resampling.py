"""Images of other sizes: `pixel_shuffle` and `upsample`."""

from gossamer.graph.operators.attributes import boolean, int_list, one_of, two_scales, wholes
from gossamer.graph.operators.base import Operator, Shape, Site, expect
from gossamer.graph.operators.window import image


def _pixel_shuffle(site: Site[Shape]) -> Shape:
    batch, channels, height, width = image(site.node, site.inputs[0])
    fh, fw = int_list(site.node, "factor")
    expect(channels % (fh * fw) == 0, site.node, f"channels that {fh * fw} divides", channels)
    return (batch, channels // (fh * fw), height * fh, width * fw)


def _upsample(site: Site[Shape]) -> Shape:
    batch, channels, _, _ = image(site.node, site.inputs[0])
    return (batch, channels, *int_list(site.node, "output"))


PIXEL_SHUFFLE = Operator(
    name="pixel_shuffle",
    shape=_pixel_shuffle,
    attributes={"factor": wholes(2, 1, 4096), "order": one_of("channel_major", "phase_major")},
    since=2,
)
UPSAMPLE = Operator(
    name="upsample",
    shape=_upsample,
    attributes={
        "output": wholes(2, 1, 65536),
        "scale": two_scales,
        "mode": one_of("nearest", "bilinear"),
        "align_corners": boolean,
    },
    since=2,
)
