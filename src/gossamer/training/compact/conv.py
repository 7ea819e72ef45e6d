"""SparseConv2d: a convolution that stores, multiplies and trains its kept weights only."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from gossamer.errors import EngineError
from gossamer.kernels.conv_geometry import ConvGeometry
from gossamer.sparsity.view import as_matrix
from gossamer.training.compact.conv_product import ConvProduct
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.compact.products import checked_operand


class SparseConv2d(CompactLayer):
    """A 2-d convolution with a sparse weight [out_channels, in_channels / groups, kh, kw]; takes the place of nn.Conv2d on the CPU.

    `dense` is the layer whose place it takes, on any device, "meta" too: its settings are read, not its weights. The rest is as in
    SparseLinear; positions are r * C + c with columns (kh, kw, c_in), c_in fastest.

    >>> layer = SparseConv2d(nn.Conv2d(16, 32, 3, padding=1, device="meta"), num_kept=500, seed=0)
    >>> layer(torch.ones(2, 16, 8, 8)).shape, layer.values.shape
    (torch.Size([2, 32, 8, 8]), torch.Size([500]))
    """

    def __init__(
        self,
        dense: nn.Conv2d,
        *,
        num_kept: int | None = None,
        positions: Tensor | None = None,
        capacity: int | None = None,
        pattern: str = "unstructured",
        seed: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            tuple(dense.weight.shape),
            positions=positions,
            num_kept=num_kept,
            capacity=capacity,
            pattern=pattern,
            bias=dense.bias is not None,
            seed=seed,
            dtype=dtype or dense.weight.dtype,
        )
        self.in_channels, self.out_channels, self.groups = (
            dense.in_channels,
            dense.out_channels,
            dense.groups,
        )
        self.kernel_size, self.stride, self.dilation = (
            _pair(dense.kernel_size),
            _pair(dense.stride),
            _pair(dense.dilation),
        )
        self.padding: Any = dense.padding
        self.padding_mode = dense.padding_mode

    # The products are native: torch.compile compiles what lies between them.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        x = checked_operand(x, self.values, "SparseConv2d")
        if x.ndim not in (3, 4) or x.shape[-3] != self.in_channels:
            raise EngineError(
                f"SparseConv2d: expected an input of shape [N, {self.in_channels}, H, W], got {list(x.shape)}"
            )
        batch = x if x.ndim == 4 else x[None]
        (top, bottom), (left, right) = self._borders()
        padding = (top, left)
        if self.padding_mode != "zeros" or (top, left) != (bottom, right):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            batch, padding = F.pad(batch, (left, right, top, bottom), mode=mode), (0, 0)
        geometry = self._geometry(padding)
        y: Tensor = ConvProduct.apply(self.values, self.bias, batch, self.matrix(), geometry, self.recorded)  # type: ignore[no-untyped-call]
        return y if x.ndim == 4 else y[0]

    def gradient_rows(self, x: Tensor, dy: Tensor, first: int, last: int) -> Tensor:
        """Row by row of groups: a group's rows read its own input channels. The padding of `x` is that of the product."""
        per_group, channels = self.out_channels // self.groups, self.in_channels // self.groups
        (top, bottom), (left, right) = self._borders()
        padded = self.padding_mode != "zeros" or (top, left) != (bottom, right)
        blocks = []
        for group in range(first // per_group, (last - 1) // per_group + 1):
            begin, end = max(first, group * per_group), min(last, (group + 1) * per_group)
            gradient = conv2d_weight(  # type: ignore[no-untyped-call]
                x[:, group * channels : (group + 1) * channels],
                (end - begin, channels, *self.kernel_size),
                dy[:, begin:end],
                self.stride,
                (0, 0) if padded else (top, left),
                self.dilation,
            )
            blocks.append(as_matrix(gradient))
        return torch.cat(blocks)

    def to_dense(self, weight: Tensor | None = None) -> nn.Conv2d:
        """The nn.Conv2d of the same function, or with this `weight`."""
        layer = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.bias is not None,
            self.padding_mode,
            device="meta",
            dtype=self.values.dtype,
        )
        weight = self.dense_weight() if weight is None else weight
        layer.weight = nn.Parameter(weight, requires_grad=self.values.requires_grad)
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.detach().clone(), requires_grad=self.bias.requires_grad)
        return layer.train(self.training)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, groups={self.groups}, {self._described()}"
        )

    def _geometry(self, padding: tuple[int, int]) -> ConvGeometry:
        return ConvGeometry(
            kernel=self.kernel_size,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def _borders(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows above and below, columns left and right; "same" puts the odd one behind, as torch does."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        if self.padding == "same":
            total = [
                dilation * (size - 1) for size, dilation in zip(self.kernel_size, self.dilation, strict=True)
            ]
            return (total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2)
        down, across = _pair(self.padding)
        return (down, down), (across, across)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
