"""SparseLinear: a linear layer that stores, multiplies and trains its kept weights only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gossamer.errors import EngineError
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.compact.products import LinearProduct, checked_operand


class SparseLinear(CompactLayer):
    """y = x W^T + bias with a sparse W [out_features, in_features]; takes the place of nn.Linear on the CPU.

    `num_kept` entries are placed at random (legal in `pattern`) and start as those of nn.Linear do; `positions` (r * in_features + c)
    places them as wanted, where that is legal in the pattern.
    `capacity` reserves room for methods that grow above `num_kept` for a while. `seed` None draws from torch's generator.

    >>> layer = SparseLinear(1024, 512, num_kept=5000, seed=0)
    >>> layer(torch.ones(2, 3, 1024)).shape, layer.values.shape
    (torch.Size([2, 3, 512]), torch.Size([5000]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        num_kept: int | None = None,
        positions: Tensor | None = None,
        capacity: int | None = None,
        pattern: str = "unstructured",
        seed: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        super().__init__(
            (out_features, in_features),
            positions=positions,
            num_kept=num_kept,
            capacity=capacity,
            pattern=pattern,
            bias=bias,
            seed=seed,
            dtype=dtype,
        )

    # The products are native: torch.compile compiles what lies between them.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        x = checked_operand(x, self.values, "SparseLinear")
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise EngineError(
                f"SparseLinear: expected an input of shape [..., {self.in_features}], got {list(x.shape)}"
            )
        rows = x.reshape(-1, self.in_features)
        y: Tensor = LinearProduct.apply(self.values, self.bias, rows, self.matrix(), self.recorded)  # type: ignore[no-untyped-call]
        return y.reshape(*x.shape[:-1], self.out_features)

    def gradient_rows(self, x: Tensor, dy: Tensor, first: int, last: int) -> Tensor:
        return dy[:, first:last].T @ x

    def to_dense(self, weight: Tensor | None = None) -> nn.Linear:
        """The nn.Linear of the same function, or with this `weight`."""
        layer = nn.Linear(
            self.in_features, self.out_features, self.bias is not None, device="meta", dtype=self.values.dtype
        )
        weight = self.dense_weight() if weight is None else weight
        layer.weight = nn.Parameter(weight, requires_grad=self.values.requires_grad)
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.detach().clone(), requires_grad=self.bias.requires_grad)
        return layer.train(self.training)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, {self._described()}"
