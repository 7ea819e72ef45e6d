"""The network while it is lowered: nodes whose weights are still plain arrays, and the views of values made real where an operation
needs them (`gossamer.export.layout` has the idea)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gossamer.export.layout import Many, Ref, Shape, Size, groups_of, product, runs_of, seen, viewed
from gossamer.export.weight import Weight
from gossamer.graph.strict_json import Json

if TYPE_CHECKING:  # annotations alone: what comes from an ONNX file needs no torch
    import torch
    from torch import Tensor

Padding = tuple[int, int, int, int]
NO_PADDING: Padding = (0, 0, 0, 0)
FARTHEST = float(np.finfo(np.float32).max)


class Unsupported(Exception):
    """An operation that the operator set lacks: why, the nearest supported form, and the node to blame
    (else the current)."""

    def __init__(self, reason: str, nearest: str, node: torch.fx.Node | None = None) -> None:
        super().__init__(reason)
        self.reason, self.nearest, self.node = reason, nearest, node


@dataclass(frozen=True, kw_only=True)
class Const:
    """A tensor that does not depend on the input, computed with a batch of two. shape: as captured. parameter: the one it is, as it
    is; None for what was computed. mask: True = kept. compact: the weight of a compact layer; `tensor` then has its shape alone."""

    tensor: Tensor
    shape: Shape
    parameter: str | None = None
    mask: Tensor | None = None
    compact: Weight | None = None


@dataclass(frozen=True, kw_only=True)
class DraftNode:
    """A node of the packed network, before folding."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Json] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)

    @property
    def output(self) -> str:
        """The first output."""
        return self.outputs[0]


class Draft:
    """Values and nodes so far."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length  # a size that will be free
        self.shapes: dict[str, Shape] = {}
        self.nodes: list[DraftNode] = []
        self.outputs: list[tuple[str, str]] = []
        self.batch_dims: dict[
            str, int
        ] = {}  # of the outputs whose first dimension is not the batch in the model
        self.current = ""
        self._names: set[str] = set()
        self._stand_ins: set[str] = set()
        self._makers: dict[str, DraftNode] = {}
        self._made: dict[Hashable, str] = {}
        self.first_input = ""

    # ---- values and nodes

    def fresh_name(self, wanted: str) -> str:
        """`wanted`, or `wanted#2`, `wanted#3`, ... where it is taken."""
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}#{number}"
        self._names.add(name)
        return name

    def add_input(self, name: str, shape: Shape) -> Ref:
        """A value that comes from outside, batch first."""
        self._names.add(name)
        self.first_input = self.first_input or name
        self.shapes[name] = shape
        return seen(name, shape)

    def add_stand_in(self, name: str, shape: Shape) -> Ref:
        """The result of an unsupported operation: it takes any shape, so that what follows raises no errors
        of its own."""
        batch = next((place for place, size in enumerate(shape) if isinstance(size, Many)), 0)
        sizes: list[Size] = [size.factor if isinstance(size, Many) else size for size in shape]
        lying: Shape = (Many(), *sizes)
        dims = [[0, place + 1] if place == batch else [place + 1] for place in range(len(shape))]
        self._stand_ins.add(name)
        self.shapes[name] = lying
        return seen(name, lying, dims)

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
    ) -> str:
        """Append a node; its value has the node's name: `reserved` (from `fresh_name`), or one like
        `name`."""
        return self.emit_many(
            op,
            inputs,
            [shape],
            attributes=attributes,
            weights=weights,
            reserved=reserved or self.fresh_name(name or self.current or op),
        )[0]

    def emit_many(
        self,
        op: str,
        inputs: Sequence[str],
        shapes: Sequence[Shape],
        *,
        attributes: Mapping[str, Json] | None = None,
        weights: Mapping[str, Weight] | None = None,
        reserved: str | None = None,
    ) -> tuple[str, ...]:
        """The same for a node with several outputs: NAME, NAME:1, NAME:2."""
        name = reserved or self.fresh_name(self.current or op)
        outputs = (name, *(self.fresh_name(f"{name}:{index}") for index in range(1, len(shapes))))
        node = DraftNode(
            op=op,
            name=name,
            inputs=tuple(inputs),
            outputs=outputs,
            attributes=dict(attributes or {}),
            weights=dict(weights or {}),
        )
        self.nodes.append(node)
        for output, shape in zip(outputs, shapes, strict=True):
            self.shapes[output] = shape
            self._makers[output] = node
            if any(value in self._stand_ins for value in inputs):
                self._stand_ins.add(output)
        return outputs

    def producer(self, value: str) -> DraftNode | None:
        """The node that makes `value`; None for an input."""
        return self._makers.get(value)

    def base(self, ref: Ref) -> Shape:
        """The shape that the value behind `ref` has in the network."""
        return self.shapes[ref.value]

    def constant(
        self, values: npt.NDArray[np.float32], *, parameter: str | None = None, batch: int | None = None
    ) -> Ref:
        """A constant as a value of the network, the same in every example. parameter: the one it is; batch: the dimension, of size 1,
        that the batch is."""
        array = np.nan_to_num(np.asarray(values, np.float32), nan=np.nan, posinf=FARTHEST, neginf=-FARTHEST)
        sizes = [size for place, size in enumerate(array.shape) if place != batch] or [1]
        shape: Shape = (self.shapes[self.first_input][0], *sizes)
        key = ("constant", shape, array.tobytes())
        if key not in self._made:
            label = self.fresh_name(f"{parameter or self.current}.constant")
            weight = Weight(
                name=parameter or f"{label}.value", values=array.reshape(-1).copy(), of_model=bool(parameter)
            )
            self._made[key] = self.emit(
                "constant",
                [self.first_input],
                shape,
                attributes={"shape": listed(sizes)},
                weights={"value": weight},
                reserved=label,
            )
        places = iter(range(1, len(shape)))
        dims = [[0] if place == batch else [next(places)] for place in range(array.ndim)]
        return seen(self._made[key], shape, dims)

    # ---- views made real

    def view(self, ref: Ref, shape: Shape, origin: torch.fx.Node | None = None) -> Ref:
        """`ref` in another shape of as many elements; emitted only where axes have to move."""
        if ref.value in self._stand_ins:
            return self.add_stand_in(ref.value, shape)
        ref = replace(self.real(ref), origin=origin)
        found = viewed(ref, shape)
        if found is None:
            found = viewed(self._joined(ref), shape)
        if found is None:
            raise Unsupported(
                f"reshape of {describe_shape(ref.shape)} to {describe_shape(shape)}",
                "reshapes that do not split the batch",
                origin,
            )
        return found

    def real(self, ref: Ref) -> Ref:
        """`ref` without sizes that only repeat: they are written out."""
        if not ref.repeats:
            return ref
        value, shape, places = self.lead(
            replace(ref, dims=tuple(tuple(a for a in dim if a >= 0) for dim in ref.dims))
        )
        sizes, dims = list(shape), []
        for dim, place in zip(ref.dims, places, strict=True):
            if any(axis < 0 for axis in dim):
                assert len(dim) == 1
                if place is None:
                    raise Unsupported("an expansion of the batch", "expansions of dimensions after the first")
                sizes[place] = -dim[0]
            dims.append([place] if place is not None else [])
        extra = [place for place in range(len(shape)) if place not in places]
        if ref.batch_dim is not None:
            dims[ref.batch_dim] = extra
        made = self.once("expand", value, tuple(sizes), {"shape": listed(sizes[1:])})
        return replace(seen(made, tuple(sizes), dims), origin=ref.origin)

    def arrange(self, ref: Ref, groups: Sequence[Sequence[int]]) -> str:
        """A value whose dimensions are the given groups of axes; the batch alone is the first."""
        shape: Shape = tuple(product(ref.axes[axis] for axis in group) for group in groups)
        order = [axis for group in groups for axis in group]
        if ref.value in self._stand_ins:
            return self.add_stand_in(f"{ref.value}'", shape[1:]).value
        if order == sorted(order):
            return self.reshape(ref.value, shape)
        runs = runs_of(order, [group for group in groups_of(self.base(ref), ref.axes) if group])
        lying = sorted(runs)
        value = self.reshape(ref.value, tuple(product(ref.axes[axis] for axis in run) for run in lying))
        turned: Shape = tuple(product(ref.axes[axis] for axis in run) for run in runs)
        value = self.once("permute", value, turned, {"order": [lying.index(run) for run in runs[1:]]})
        return self.reshape(value, shape)

    def lead(self, ref: Ref) -> tuple[str, Shape, list[int | None]]:
        """The value as [batch, what is joined with the batch, every other dimension in the model's order]: its name, its shape, and the
        place of every dimension of the model (None for the one that holds the batch)."""
        groups: list[list[int]] = [[0]]
        batch = ref.batch_dim
        if batch is not None:
            here = list(ref.dims[batch])
            groups += [part for part in (here[: here.index(0)], here[here.index(0) + 1 :]) if part]
        elif ref.axes[0] == 1:
            batch = next((place for place, dim in enumerate(ref.dims) if not dim), None)
        places: list[int | None] = []
        for place, dim in enumerate(ref.dims):
            places.append(None if place == batch else len(groups))
            if place != batch:
                groups.append(list(dim))
        value = self.arrange(ref, groups)
        return value, tuple(product(ref.axes[axis] for axis in group) for group in groups), places

    def led(self, ref: Ref) -> Ref:
        """`ref` with its value laid out as `lead` does it."""
        value, shape, places = self.lead(ref)
        extra = [place for place in range(len(shape)) if place not in places]
        before = 0 if ref.batch_dim is None else ref.dims[ref.batch_dim].index(0)
        joined = [*extra[1:2], 0, *extra[2:]] if before else extra
        dims = [joined if place is None else [place] for place in places]
        return replace(seen(value, shape, dims), origin=ref.origin)

    def axis(self, ref: Ref, dim: int) -> tuple[Ref, int]:
        """`ref` laid out so that dimension `dim` is one dimension of its value; which one that is."""
        if 0 in ref.dims[dim]:
            raise Unsupported(
                f"an operation along dimension {dim} of {describe_shape(ref.shape)}, which holds the batch",
                "operations along other dimensions",
            )
        wanted = list(ref.dims[dim])
        groups = groups_of(self.base(ref), ref.axes)
        if wanted and wanted in groups:
            return ref, groups.index(wanted)
        if wanted and wanted == list(range(wanted[0], wanted[-1] + 1)):
            split: list[list[int]] = []
            for group in groups:
                before = [axis for axis in group if axis < wanted[0]]
                after = [axis for axis in group if axis > wanted[-1]]
                split += [part for part in (before, after) if part or not group]
                if wanted[0] in group:
                    split.insert(len(split) - bool(after), wanted)
            if len(split) <= 8:
                value = self.arrange(ref, split)
                return replace(ref, value=value), split.index(wanted)
        value, _shape, places = self.lead(ref)
        place = places[dim]
        assert place is not None
        return self.led(ref), place

    def reshape(self, value: str, shape: Shape) -> str:
        """The value in another row-major shape: `flatten` where only last dimensions are joined."""
        base = self.shapes[value]
        if base == shape:
            return value
        start = len(shape) - 1
        if 1 <= start < len(base) and shape[:start] == base[:start]:
            return self.once("flatten", value, shape, {"start": start})
        return self.once("reshape", value, shape, {"shape": listed(shape[1:])})

    def once(self, op: str, value: str, shape: Shape, attributes: Mapping[str, Json]) -> str:
        """A node that only moves data, emitted once for each value and attributes."""
        key = (op, value, shape, repr(attributes))
        if key not in self._made:
            self._made[key] = self.emit(op, [value], shape, attributes=attributes, name=f"{value}.{op}")
        return self._made[key]

    def _joined(self, ref: Ref) -> Ref:
        """Laid out in the model's order, axes before and after the batch each joined to one."""
        flat = [axis for dim in ref.dims for axis in dim]
        place = flat.index(0) if 0 in flat else 0
        before, after = flat[:place], [axis for axis in flat[place:] if axis != 0]
        groups = [[0], *(part for part in (before, after) if part)]
        value = self.arrange(ref, groups)
        shape: Shape = tuple(product(ref.axes[axis] for axis in group) for group in groups)
        dims = (
            [[1], [0], [2]] if before and after else [[1], [0]] if before else [[0], [1]] if after else [[0]]
        )
        if 0 not in flat:
            dims = [[1]]
        return replace(seen(value, shape, dims), origin=ref.origin)


def plain(sizes: Sequence[Size]) -> list[int]:
    """Sizes without the batch in them."""
    found = [size for size in sizes if isinstance(size, int)]
    assert len(found) == len(sizes)
    return found


def listed(sizes: Sequence[Size]) -> list[Json]:
    """Sizes after the batch, as an attribute."""
    return [*plain(sizes)]


def describe_shape(shape: Sequence[Size]) -> str:
    """A shape in a message."""
    return "[" + ", ".join(str(size) for size in shape) + "]"


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
