"""Shared by convolution and pooling: where a sliding window lands.

>>> slide(7, kernel=3, stride=2, before=1, after=1, dilation=1)
4
"""

from gossamer.graph.network import Node
from gossamer.graph.operators.attributes import int_list, wholes
from gossamer.graph.operators.base import Shape, expect

KERNEL = wholes(2, 1, 4096)
PADDING = wholes(4, 0, 4095)  # top, left, bottom, right


def slide(size: int, *, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Number of window positions along one axis; 0 or less where the window does not fit."""
    room = size + before + after - dilation * (kernel - 1) - 1
    return room // stride + 1 if room >= 0 else 0


def image(node: Node, shape: Shape) -> tuple[int, int, int, int]:
    """An input [N, C, H, W]."""
    expect(len(shape) == 4, node, "an input [N, C, H, W]", list(shape))
    return shape[0], shape[1], shape[2], shape[3]


def slide_image(node: Node, height: int, width: int, dilation: tuple[int, ...]) -> tuple[int, int]:
    """Ho and Wo of a node with `kernel`, `stride` and `padding`."""
    kernel, stride = int_list(node, "kernel"), int_list(node, "stride")
    top, left, bottom, right = int_list(node, "padding")
    out = (
        slide(height, kernel=kernel[0], stride=stride[0], before=top, after=bottom, dilation=dilation[0]),
        slide(width, kernel=kernel[1], stride=stride[1], before=left, after=right, dilation=dilation[1]),
    )
    expect(
        min(out) >= 1,
        node,
        "a window that fits into the padded image",
        f"{height}x{width} for a window of {kernel}",
    )
    return out
