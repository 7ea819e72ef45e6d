"""One captured operation with its arguments bound to the names of its schema, as the lowering functions
read it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gossamer.export.draft import Const, Draft, Unsupported, describe_shape
from gossamer.export.layout import Many, Ref, Shape
from gossamer.export.weight import Weight, sibling

Result = Ref | tuple[Ref | None, ...]
Lowering = Callable[["Call", Draft], Result]


@dataclass(frozen=True, kw_only=True)
class Call:
    """`op` is the name without overload, e.g. aten.relu.

    out_shapes: shape of every result as torch sees it. name: what the node is to be called.
    """

    op: str
    node: torch.fx.Node
    arguments: dict[str, object]
    out_shapes: tuple[Shape, ...]
    name: str

    @property
    def out_shape(self) -> Shape:
        """Shape of the (first) result."""
        return self.out_shapes[0]

    @property
    def dtype(self) -> torch.dtype:
        """Of the (first) result."""
        value = self.node.meta["val"]
        found: torch.dtype = value.dtype if isinstance(value, Tensor) else value[0].dtype
        return found

    def get(self, *names: str, default: object = None) -> object:
        """The first of `names` that the schema has."""
        return next((self.arguments[name] for name in names if name in self.arguments), default)

    def ref(self, *names: str) -> Ref:
        """A value that depends on the input."""
        found = self.get(*(names or ("input", "self")))
        if isinstance(found, Ref):
            return found
        raise Unsupported(
            f"{self.op} of {'a constant' if isinstance(found, Const) else describe(found)}",
            f"{self.op} of a value that depends on the model's input",
        )

    def value(self, draft: Draft, *names: str) -> Ref:
        """A tensor, as a value of the network even where it is constant."""
        return operand(draft, self.get(*names))

    def const(self, name: str) -> Const | None:
        """A constant tensor, None where the argument is None."""
        found = self.get(name)
        if found is None or isinstance(found, Const):
            return found
        raise Unsupported(
            f"{self.op} whose {name} is computed from the input", f"{self.op} with a constant {name}"
        )

    def vector(self, name: str) -> np.ndarray | None:
        """A constant as float32 array."""
        found = self.const(name)
        return None if found is None else to_array(found.tensor)

    def pair(self, *names: str, default: int | None = None) -> tuple[int, int]:
        """Two integers; one stands for both, an empty list for the default."""
        found = self.get(*names)
        values = [found] if isinstance(found, int) else found
        if not values and default is not None:
            values = [default]
        if (
            not isinstance(values, Sequence)
            or len(values) not in (1, 2)
            or not all(isinstance(v, int) for v in values)
        ):
            raise Unsupported(
                f"{self.op} with {names[0]} {describe(found)}", f"{self.op} with integers for {names[0]}"
            )
        return int(values[0]), int(values[-1])

    def integer(self, name: str, default: int = 0) -> int:
        """One integer."""
        found = self.get(name, default=default)
        if not isinstance(found, int):
            raise Unsupported(
                f"{self.op} with {name} {describe(found)}", f"{self.op} with an integer for {name}"
            )
        return found

    def number(self, name: str, default: float) -> float:
        """One number; None is the default."""
        found = self.get(name, default=default)
        if found is None:
            return default
        if isinstance(found, Const) and found.tensor.numel() == 1:
            return float(found.tensor)
        if not isinstance(found, int | float):
            raise Unsupported(f"{self.op} with {name} {describe(found)}", f"a number for {name}")
        return float(found)

    def dim(self, name: str = "dim", default: int = 0, rank: int | None = None) -> int:
        """A dimension of the input, counted from the front."""
        return self.integer(name, default) % max(len(self.ref().shape) if rank is None else rank, 1)

    def dims(self, name: str = "dim") -> list[int]:
        """Dimensions of the input, all where none are given, ascending."""
        rank = len(self.ref().shape)
        found = self.get(name)
        if found is None or found == []:
            return list(range(rank))
        listed = [found] if isinstance(found, int) else found
        assert isinstance(listed, list | tuple)
        return sorted(int(dim) % max(rank, 1) for dim in listed)

    def rank(self, ref: Ref, *ranks: int) -> None:
        """Refuse a value of another rank."""
        if len(ref.shape) not in ranks:
            raise Unsupported(
                f"{self.op} of a value of shape {describe(ref.shape)}",
                f"{self.op} of rank {' or '.join(str(rank) for rank in ranks)}, batch first",
            )


def operand(draft: Draft, found: object) -> Ref:
    """A value, a constant or a number as a value of the network."""
    if isinstance(found, Ref):
        return found
    if isinstance(found, bool | int | float):
        return draft.constant(np.asarray(float(found), np.float32))
    if isinstance(found, Const):
        joined = _joined(found)
        if joined is not None:
            opened, place = joined
            ref = operand(draft, opened)
            dims = (*ref.dims[:place], (*ref.dims[place], *ref.dims[place + 1]), *ref.dims[place + 2 :])
            return replace(ref, dims=dims)
        tensor, batch = single(found)
        return draft.constant(
            to_array(tensor), parameter=found.parameter if tensor is found.tensor else None, batch=batch
        )
    raise Unsupported(f"arithmetic with {describe(found)}", "values from the input, constants and numbers")


def _joined(const: Const) -> tuple[Const, int] | None:
    """A constant with a size of c times the batch, opened to [batch, c] or [c, batch] where its entries are the same in every example;
    and the dimension."""
    for place, size in enumerate(const.shape):
        if isinstance(size, Many) and size.factor != 1:
            front, back = const.tensor.shape[:place], const.tensor.shape[place + 1 :]
            for step, sizes in enumerate(((2, size.factor), (size.factor, 2))):
                opened = const.tensor.reshape(*front, *sizes, *back)
                first = opened.narrow(place + step, 0, 1)
                if torch.equal(opened, first.expand_as(opened)):
                    here: Shape = (size.factor, Many()) if step else (Many(), size.factor)
                    lying = (*const.shape[:place], *here, *const.shape[place + 1 :])
                    return Const(tensor=opened, shape=lying), place
    return None


def single(const: Const) -> tuple[Tensor, int | None]:
    """The constant as one example sees it (the batch has size 1), and the dimension of the batch."""
    tensor, batch = const.tensor, None
    for place, size in enumerate(const.shape):
        if isinstance(size, Many):
            first = tensor.narrow(place, 0, 1)
            if size.factor != 1 or not torch.equal(tensor, first.expand_as(tensor)):
                raise Unsupported(
                    "a constant that differs from example to example (made from the size of the batch)",
                    "values that are computed from the input",
                )
            tensor, batch = first, place
    return tensor, batch


def int_size(size: object) -> int:
    """A size that must not depend on the batch."""
    if not isinstance(size, int):
        raise Unsupported(
            f"a size {size} that depends on the batch",
            "operations along dimensions that do not hold the batch",
        )
    return size


def matrix_weight(call: Call, const: Const, *, columns: tuple[int, ...] | None = None) -> Weight:
    """A weight [O, ...] as matrix; columns: order of the dimensions after the first, e.g. (2, 3, 1) for
    convolutions. The matrix of a compact layer has that order already."""
    if const.compact is not None:
        return const.compact
    order = (0, *(columns or range(1, const.tensor.dim())))
    rows = const.tensor.shape[0]
    values = to_array(const.tensor.permute(order).reshape(rows, -1))
    mask = None if const.mask is None else const.mask.permute(order).reshape(rows, -1).cpu().numpy().copy()
    return Weight(name=const.parameter or f"{call.name}.weight", values=values, mask=mask)


def bias_weight(weight: Weight, bias: np.ndarray | None) -> dict[str, Weight]:
    """The roles of a linear or convolution layer."""
    if bias is None:
        return {"weight": weight}
    return {"weight": weight, "bias": Weight(name=sibling(weight.name, "bias"), values=bias)}


def to_array(tensor: Tensor) -> np.ndarray:
    """float32 copy on the CPU, row-major whatever the memory format was."""
    return np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).contiguous().numpy()).copy()


def describe(value: object) -> str:
    """A value in a message."""
    if isinstance(value, Ref):
        return f"a value of shape {describe(value.shape)}"
    if isinstance(value, Const):
        return f"a constant of shape {list(value.tensor.shape)}"
    if isinstance(value, torch.fx.Node | Many):
        return "a number computed from the input's size"
    if isinstance(value, tuple):
        return describe_shape(value)
    return repr(value)
