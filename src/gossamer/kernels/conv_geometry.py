"""What a convolution does with its kernel, beside the weights: sizes, steps and borders, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer.errors import FormatError

Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ConvGeometry:
    """Of a 2-d convolution, (height, width) each. Padding is zeros, as many before as behind.

    >>> ConvGeometry(kernel=(3, 3), stride=(2, 2), padding=(1, 1)).output((28, 28))
    (14, 14)
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        if min(*self.kernel, *self.stride, *self.dilation, self.groups) < 1 or min(self.padding) < 0:
            raise FormatError(
                f"expected a kernel, stride, dilation and groups of at least 1 and a padding of at least 0, got {self}"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """Kernel, stride, padding and dilation, height before width: as the native products take them."""
        return (*self.kernel, *self.stride, *self.padding, *self.dilation)

    def output(self, size: Pair) -> Pair:
        """Height and width of the result for images of `size`."""
        found = [
            (side + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1
            for side, kernel, stride, padding, dilation in zip(
                size, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        ]
        if min(found) < 1:
            raise FormatError(
                f"expected images that the kernel fits into, got {size[0]}x{size[1]} for {self}; pad them or take a smaller kernel"
            )
        return found[0], found[1]

    def channels(self, shape: Pair) -> int:
        """Input channels of a weight matrix [R, C] with columns (kernel row, kernel column, channel of the group)."""
        rows, columns = shape
        taps = self.kernel[0] * self.kernel[1]
        if columns % taps or rows % self.groups:
            raise FormatError(
                f"expected a weight of whole filters and groups, got a matrix {rows}x{columns} for {self}"
            )
        return columns // taps * self.groups
