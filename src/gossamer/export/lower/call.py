"""One captured operation with its arguments bound to the names of its schema, as the lowering functions
read it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gossamer.export.draft import Const, Draft, Ref, Shape, Unsupported, Weight, sibling

Result = Ref | tuple[Ref | None, ...]
Lowering = Callable[["Call", Draft], Result]


@dataclass(frozen=True, kw_only=True)
class Call:
    """`op` is the name without overload and without the underscore of in-place forms, e.g. aten.relu.

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

    def rank(self, ref: Ref, *ranks: int) -> None:
        """Refuse a value of another rank."""
        if len(ref.shape) not in ranks:
            raise Unsupported(
                f"{self.op} of a value of shape {describe(ref.shape)}",
                f"{self.op} of rank {' or '.join(str(rank) for rank in ranks)}, batch first",
            )


def int_size(size: object) -> int:
    """A size that must not be symbolic."""
    if not isinstance(size, int):
        raise Unsupported(
            f"a size {size} that depends on the batch",
            "sizes that depend on the batch in the first place only",
        )
    return size


def matrix_weight(call: Call, const: Const, *, columns: tuple[int, ...] | None = None) -> Weight:
    """A weight [O, ...] as matrix; columns: order of the dimensions after the first, e.g. (2, 3, 1) for
    convolutions."""
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
    if isinstance(value, torch.fx.Node):
        return "a number computed from the input's size"
    if isinstance(value, tuple):
        return "[" + ", ".join(str(size) for size in value) + "]"
    return repr(value)
