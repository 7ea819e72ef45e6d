"""What SparseLinear and SparseConv2d share: values as the parameter, places as a buffer, and dense forms at the edges.

The parameter `values` [capacity] IS the kept values, in the order of the structure; behind the last kept entry it is zero. Its shape never
changes: an edit moves values in place. `places` is a persistent buffer of bytes (`storage.Places`), so that state_dict, torch.save,
copy.deepcopy and DistributedDataParallel treat it like any other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gossamer.errors import EngineError
from gossamer.kernels.training_matrix import TrainingMatrix
from gossamer.sparsity.patterns import Unstructured, check_positions, parse_pattern
from gossamer.sparsity.view import as_matrix, from_matrix
from gossamer.training.compact.products import Recorded
from gossamer.training.compact.storage import Places, block_of, dense_matrix


class CompactLayer(nn.Module, ABC):
    """A layer whose weight is stored as its kept values. Abstract: its two kinds know how to multiply."""

    values: nn.Parameter
    bias: nn.Parameter | None
    places: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        positions: Tensor | None,
        num_kept: int | None,
        capacity: int | None,
        pattern: str,
        bias: bool,
        seed: int | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        who, legal = type(self).__name__, parse_pattern(pattern)
        if (positions is None) == (num_kept is None):
            raise EngineError(f"{who}: expected num_kept=… or positions=…, one of the two")
        generator = torch.Generator().manual_seed(
            seed if seed is not None else int(torch.randint(1 << 62, (), device="cpu"))
        )
        rows, columns = Places(shape=shape, capacity=0).matrix
        given = positions is not None
        if positions is None:
            assert num_kept is not None
            nothing = torch.empty(0, dtype=torch.int64, device="cpu")
            positions = legal.for_weight(shape).draw(nothing, (rows, columns), num_kept, generator)
        if capacity is None:
            capacity = len(positions)
        self.recorded: Recorded | None = None  # a list while backward passes shall leave their operands in it
        self._matrix: TrainingMatrix | None = None
        self._made_from: tuple[Tensor, int] | None = (
            None  # the places that the handle was made from, and their version
        )
        self.pattern = str(legal)
        self.where = Places(shape=shape, block=block_of(legal), capacity=capacity)
        self.register_buffer("places", self.where.pack(positions))
        if given and self.where.unit == 1 and not isinstance(legal, Unstructured):
            check_positions(legal.for_weight(shape), self.where.ascending(self.places), (rows, columns))
        kind = dtype or torch.get_default_dtype()
        bound = columns**-0.5 if columns else 0.0  # kaiming_uniform_(a=sqrt(5)) of the dense layer
        values = torch.zeros(capacity, dtype=kind, device="cpu")
        values[: len(positions)].uniform_(-bound, bound, generator=generator)
        self.values = nn.Parameter(values)
        self.bias = None
        if bias:
            self.bias = nn.Parameter(
                torch.empty(rows, dtype=kind, device="cpu").uniform_(-bound, bound, generator=generator)
            )

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Of the dense weight."""
        return self.where.shape

    @property
    def capacity(self) -> int:
        return self.where.capacity

    @property
    def num_kept(self) -> int:
        return self.where.num_kept(self.places)

    @property
    def row_start(self) -> Tensor:
        """uint32 [R / block rows + 1], a view of `places`."""
        return self.where.row_start(self.places)

    @property
    def columns(self) -> Tensor:
        """uint16 or uint32 [capacity / block size], a view of `places`; valid up to row_start[-1]."""
        return self.where.columns(self.places)

    def positions(self) -> Tensor:
        """int64 [nnz]: r * C + c of the kept entries, in the order of `values`."""
        return self.where.positions(self.places)

    def dense_weight(self) -> Tensor:
        """A new dense weight, zero where nothing is kept."""
        matrix = dense_matrix(self.where, self.places, self.values)
        return from_matrix(matrix, self.weight_shape)

    @abstractmethod
    def to_dense(self, weight: Tensor | None = None) -> nn.Linear | nn.Conv2d:
        """The torch layer of the same function, or with this `weight`."""

    def mask(self) -> Tensor:
        """A new mask of the weight's shape, True = kept."""
        kept = dense_matrix(self.where, self.places, torch.ones(self.capacity, dtype=torch.bool))
        return from_matrix(kept, self.weight_shape)

    @property
    def index_bytes(self) -> int:
        """Bytes of the places: the buffer, and what the kernels have prepared from it."""
        return self.places.numel() + self.matrix().nbytes

    def matrix(self) -> TrainingMatrix:
        """The kernels' handle of the places: made at the first use, and anew when the buffer was written or replaced."""
        made_from, untold = (
            self._made_from,
            self.places.is_inference(),
        )  # torch counts no versions of inference tensors
        version = 0 if untold else self.places._version
        if untold or made_from is None or made_from[0] is not self.places or made_from[1] != version:
            count = self.num_kept // self.where.unit
            self._matrix = TrainingMatrix(
                self.where.matrix,
                self.row_start.numpy(),
                self.columns[:count].numpy(),
                block=self.where.block,
            )
            self._made_from = self.places, version
        assert self._matrix is not None
        return self._matrix

    def release(self) -> None:
        """Frees the handle until the next product: an edit makes another one anyway, and needs the memory until then."""
        self._matrix = self._made_from = None

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles make their own handle."""
        return {**self.__dict__, "_matrix": None, "_made_from": None, "recorded": None}

    @abstractmethod
    def gradient_rows(self, x: Tensor, dy: Tensor, first: int, last: int) -> Tensor:
        """Rows `first` to `last` - 1 of the dense weight's gradient [R, C], from the operands of one backward pass."""

    @torch.no_grad()
    def take(self, weight: Tensor) -> None:
        """Copies the kept values out of a dense weight."""
        positions = self.positions()
        self.values.zero_()
        self.values[: len(positions)] = as_matrix(weight.detach()).flatten()[positions].to(self.values.dtype)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Own keys as usual; a dense `weight` gives the kept places their values, and must be zero elsewhere."""
        weight, values = state_dict.get(f"{prefix}weight"), state_dict.get(f"{prefix}values")
        if values is not None and values.shape != self.values.shape:
            error_msgs.append(
                f"size mismatch for {prefix}values: expected the capacity {self.capacity} of this compact layer, got {values.numel()}; "
                "make the layers by compact_(model, method) with the method of the checkpoint"
            )
            return
        if weight is not None and values is None:
            state_dict = {key: value for key, value in state_dict.items() if key != f"{prefix}weight"}
            if tuple(weight.shape) != self.weight_shape:
                error_msgs.append(
                    f"size mismatch for {prefix}weight: expected {self.weight_shape}, got {tuple(weight.shape)}"
                )
                return
            kept = as_matrix(weight).flatten()[self.positions()]
            lost = int(weight.count_nonzero()) - int(kept.count_nonzero())
            if lost:
                error_msgs.append(
                    f"{prefix}weight: expected zeros outside the {len(kept)} kept places of this compact layer, got {lost} non-zero "
                    "weights there; load the Sparsifier's state (or the places) first, or load the checkpoint into the dense model and "
                    "compact_ that one"
                )
                return
            taken = torch.zeros_like(self.values)
            taken[: len(kept)] = kept
            state_dict[f"{prefix}values"], state_dict[f"{prefix}places"] = taken, self.places
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _described(self) -> str:
        return f"num_kept={self.num_kept}, capacity={self.capacity}, pattern={self.pattern}, bias={self.bias is not None}"
