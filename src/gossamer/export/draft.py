"""The network while it is lowered: nodes whose weights are still plain arrays, and values that may still
wait for a reshape.

A reshape is not written down when it is met. A `Ref` is a value of the network together with the shape that
the model sees it in and zeros that the model put around it; both are settled when an operation needs them.
So `x.view(n, -1)` becomes `flatten`, views that cancel each other vanish, and zeros in front of a
convolution become its padding.

Shapes hold integers and, in the first place, the symbol of the batch; any other symbolic size stays as
torch's text for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gossamer.graph.strict_json import Json

if TYPE_CHECKING:  # annotations alone: what comes from an ONNX file needs no torch
    import torch
    from torch import Tensor

Size = int | str
Shape = tuple[Size, ...]
Padding = tuple[int, int, int, int]
Array = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
NO_PADDING: Padding = (0, 0, 0, 0)


class Unsupported(Exception):
    """An operation that the operator set lacks: why, the nearest supported form, and the node to blame
    (else the current)."""

    def __init__(self, reason: str, nearest: str, node: torch.fx.Node | None = None) -> None:
        super().__init__(reason)
        self.reason, self.nearest, self.node = reason, nearest, node


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A value as the model sees it. storage: equal for aliases; part_of: storage that this is a slice of;
    padding: zeros around H and W (top, left, bottom, right)."""

    value: str
    shape: Shape
    storage: int
    padding: Padding = NO_PADDING
    origin: torch.fx.Node | None = None
    part_of: int | None = None


@dataclass(frozen=True, kw_only=True)
class Const:
    """A tensor that does not depend on the input. parameter: the one it is, as it is; None for what was
    computed."""

    tensor: Tensor
    parameter: str | None = None
    mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight of a node. values: matrix [rows, columns] or vector [n]; mask: True = kept, None = all kept;
    of_model: a weight that the model has, not one that lowering made (a choice of channels)."""

    name: str
    values: Array
    mask: Mask | None = None
    only_dense: bool = False
    of_model: bool = True


@dataclass(frozen=True, kw_only=True)
class DraftNode:
    """A node of the packed network, before folding."""

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Json] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)


class Draft:
    """Values and nodes so far."""

    def __init__(self) -> None:
        self.shapes: dict[str, Shape] = {}
        self.nodes: list[DraftNode] = []
        self.outputs: list[tuple[str, str]] = []
        self._names: set[str] = set()
        self._stand_ins: set[str] = set()
        self._storages = 0
        self._settled: dict[tuple[str, Shape, Padding], str] = {}
        self.current = ""

    def fresh_name(self, wanted: str) -> str:
        """`wanted`, or `wanted#2`, `wanted#3`, ... where it is taken."""
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}#{number}"
        self._names.add(name)
        return name

    def add_input(self, name: str, shape: Shape) -> Ref:
        """A value that comes from outside."""
        self._names.add(name)
        return self._ref(name, shape)

    def add_stand_in(self, name: str, shape: Shape) -> Ref:
        """The result of an unsupported operation: it takes any shape, so that what follows raises no errors
        of its own."""
        self._stand_ins.add(name)
        return self.add_input(name, shape)

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Shape,
        *,
        attributes: Mapping[str, Json] | None = None,
        weights: Mapping[str, Weight] | None = None,
        name: str | None = None,
        reserved: str | None = None,
    ) -> Ref:
        """Append a node; its value has the node's name: `reserved` (from `fresh_name`), or one like
        `name`."""
        unique = reserved or self.fresh_name(name or self.current or op)
        self.nodes.append(
            DraftNode(
                op=op,
                name=unique,
                inputs=tuple(inputs),
                output=unique,
                attributes=dict(attributes or {}),
                weights=dict(weights or {}),
            )
        )
        return self._ref(unique, shape)

    def producer(self, value: str) -> DraftNode | None:
        """The node that makes `value`; None for an input."""
        return next((node for node in reversed(self.nodes) if node.output == value), None)

    def base(self, ref: Ref) -> Shape:
        """The shape that the value behind `ref` has in the network."""
        return self.shapes[ref.value]

    def view(self, ref: Ref, shape: Shape, origin: torch.fx.Node | None = None) -> Ref:
        """`ref` in another shape of as many elements; nothing is emitted yet."""
        if any(ref.padding):
            ref = replace(ref, value=self.settle(ref), padding=NO_PADDING)
        return replace(ref, shape=shape, origin=origin)

    def copy(self, ref: Ref) -> Ref:
        """The same value under a storage of its own."""
        self._storages += 1
        return replace(ref, storage=self._storages)

    def settle(self, ref: Ref, *, keep_padding: bool = False) -> str:
        """Name of a value that really has the shape of `ref` (without its padding where that is kept)."""
        padding = NO_PADDING if keep_padding else ref.padding
        base = self.base(ref)
        if ref.value in self._stand_ins or (not any(ref.padding) and ref.shape == base):
            return ref.value
        if not any(padding) and any(ref.padding):
            return ref.value
        key = (ref.value, ref.shape, padding)
        if key not in self._settled:
            made = self._pad(ref) if any(padding) else self._flatten(ref, base)
            self._settled[key] = made.value
        return self._settled[key]

    def _flatten(self, ref: Ref, base: Shape) -> Ref:
        start = len(ref.shape) - 1
        rest = [size for size in base[start:] if isinstance(size, int)]
        fits = 1 <= start < len(base) and ref.shape[:start] == base[:start] and len(rest) == len(base) - start
        if not fits or ref.shape[start] != int(np.prod(rest)):
            raise Unsupported(
                f"reshape of {_show(base)} to {_show(ref.shape)}",
                "flatten(start_dim) or view(x.size(0), -1), which keep the batch and join the last dimensions",
                ref.origin,
            )
        return self.emit(
            "flatten", [ref.value], ref.shape, attributes={"start": start}, name=f"{ref.value}.flatten"
        )

    def _pad(self, ref: Ref) -> Ref:
        """Zeros around H and W, as a 1x1 depthwise convolution with weight 1 and that padding."""
        channels = ref.shape[1]
        assert isinstance(channels, int)
        name = self.fresh_name(f"{ref.value}.pad")
        ones = Weight(
            name=f"{name}.weight",
            values=np.ones((channels, 1), np.float32),
            only_dense=True,
            of_model=False,
        )
        attributes = conv_attributes(padding=ref.padding, groups=channels)
        return self.emit(
            "conv2d", [ref.value], ref.shape, attributes=attributes, weights={"weight": ones}, reserved=name
        )

    def _ref(self, value: str, shape: Shape) -> Ref:
        self._storages += 1
        self.shapes[value] = shape
        return Ref(value=value, shape=shape, storage=self._storages)


def conv_attributes(
    *,
    kernel: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> dict[str, Json]:
    """Attributes of `conv2d`; the defaults are those of a 1x1 convolution."""
    return {
        "kernel": list(kernel),
        "stride": list(stride),
        "padding": list(padding),
        "dilation": list(dilation),
        "groups": groups,
    }


def sibling(name: str, role: str) -> str:
    """Name of another weight of the same layer.

    >>> sibling("layer1.0.conv1.weight", "bias")
    'layer1.0.conv1.bias'
    """
    return f"{name.removesuffix('.weight')}.{role}"


def _show(shape: Shape) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"
