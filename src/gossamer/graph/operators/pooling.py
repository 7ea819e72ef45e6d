"""Max, average and adaptive average pooling of images [N, C, H, W]."""

from gossamer.graph.network import Node
from gossamer.graph.operators.attributes import boolean, int_list, wholes
from gossamer.graph.operators.base import Operator, Shape, Site, expect
from gossamer.graph.operators.window import KERNEL, PADDING, image, slide_image


def _pool(node: Node, shape: Shape, dilation: tuple[int, ...]) -> Shape:
    batch, channels, height, width = image(node, shape)
    kernel, padding = int_list(node, "kernel"), int_list(node, "padding")
    for axis in (0, 1):
        most = ((kernel[axis] - 1) * dilation[axis] + 1) // 2
        found = max(padding[axis], padding[axis + 2])
        expect(found <= most, node, f"padding of at most half the window ({most})", found)
    return (batch, channels, *slide_image(node, height, width, dilation))


def _max_pool2d(site: Site[Shape]) -> Shape:
    return _pool(site.node, site.inputs[0], int_list(site.node, "dilation"))


def _avg_pool2d(site: Site[Shape]) -> Shape:
    return _pool(site.node, site.inputs[0], (1, 1))


def _adaptive_avg_pool2d(site: Site[Shape]) -> Shape:
    batch, channels, _, _ = image(site.node, site.inputs[0])
    return (batch, channels, *int_list(site.node, "output"))


_WINDOW = {"kernel": KERNEL, "stride": KERNEL, "padding": PADDING}
MAX_POOL2D = Operator(name="max_pool2d", shape=_max_pool2d, attributes={**_WINDOW, "dilation": KERNEL})
AVG_POOL2D = Operator(
    name="avg_pool2d", shape=_avg_pool2d, attributes={**_WINDOW, "count_include_pad": boolean}
)
ADAPTIVE_AVG_POOL2D = Operator(
    name="adaptive_avg_pool2d", shape=_adaptive_avg_pool2d, attributes={"output": wholes(2, 1, 65536)}
)
