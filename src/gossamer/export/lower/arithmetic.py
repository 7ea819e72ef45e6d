"""Arithmetic, comparison and logic. Constants that vary along one dimension are affine maps, which fold into the layer before them."""

import math

import numpy as np
import torch

from gossamer.export.draft import Const, Draft, Unsupported
from gossamer.export.layout import Many, Ref, groups_of
from gossamer.export.lower.activation import affine, clamped, converted, number, truncated, unary
from gossamer.export.lower.call import Call, Lowering, describe, operand, single, to_array
from gossamer.export.lower.pairwise import elementwise
from gossamer.export.weight import Weight


def plus(draft: Draft, first: object, second: object, alpha: float = 1.0) -> Ref:
    """first + alpha * second."""
    if isinstance(first, Ref) and isinstance(second, Ref):
        if alpha == -1.0:
            return elementwise(draft, "sub", first, second)
        return elementwise(draft, "add", first, affine(draft, second, alpha))
    if isinstance(first, Ref):
        return scaled(draft, first, 1.0, second, alpha)
    assert isinstance(second, Ref)
    return scaled(draft, affine(draft, second, alpha), 1.0, first)


def times(draft: Draft, first: object, second: object) -> Ref:
    """Product; x * sigmoid(x) is silu(x)."""
    if isinstance(first, Ref) and isinstance(second, Ref):
        for value, gate in ((first, second), (second, first)):
            node = draft.producer(gate.value)
            gated = node is not None and node.op == "sigmoid" and node.inputs == (value.value,)
            if gated and value.dims == gate.dims and value.axes == gate.axes:
                return unary(draft, "silu", value)
        return elementwise(draft, "mul", first, second)
    x, factor = (first, second) if isinstance(first, Ref) else (second, first)
    assert isinstance(x, Ref)
    return scaled(draft, x, factor)


def scaled(draft: Draft, x: Ref, scale: object, shift: object = 0.0, factor: float = 1.0) -> Ref:
    """scale * x + factor * shift, one of the two a constant that broadcasts: a number, one a channel or feature, or anything else."""
    constant = shift if scale == 1.0 and not isinstance(scale, Const) else scale
    value = number_of(constant, x)
    if value is not None:
        return affine(draft, x, 1.0, factor * value) if constant is shift else affine(draft, x, value)
    if not isinstance(constant, Const):
        raise Unsupported(
            f"arithmetic with {describe(constant)}", "values from the input, constants and numbers"
        )
    line = _line(draft, x, constant)
    if line is not None:
        op, values = line
        ones = np.ones_like(values)
        scales, shifts = (ones, factor * values) if constant is shift else (values, 0.0 * ones)
        return mapped(draft, op, x, scales, shifts)
    other = operand(draft, constant)
    if constant is not shift:
        return elementwise(draft, "mul", x, other)
    return plus(draft, x, other, factor)


def mapped(draft: Draft, op: str, x: Ref, scale: np.ndarray, shift: np.ndarray) -> Ref:
    """`channel_affine` (over dimension 1 of the value) or `feature_affine` (over its last one: becomes part of the layer before it, or
    a product and a sum)."""
    unique = draft.fresh_name(draft.current or op)
    weights = {
        "scale": Weight(name=f"{unique}.scale", values=np.asarray(scale, np.float64)),
        "shift": Weight(name=f"{unique}.shift", values=np.asarray(shift, np.float64)),
    }
    made = draft.emit(op, [x.value], draft.base(x), weights=weights, reserved=unique)
    return Ref(value=made, axes=x.axes, dims=x.dims, origin=x.origin)


def _line(draft: Draft, x: Ref, constant: Const) -> tuple[str, np.ndarray] | None:
    """The operator, and the entries of a constant that varies along a single dimension of the value, its second or last."""
    if any(isinstance(size, Many) and size.factor != 1 for size in constant.shape):
        return None
    tensor, _ = single(constant)
    base = draft.base(x)
    varying = [
        place for place, size in enumerate(tensor.shape, start=len(x.shape) - tensor.dim()) if size != 1
    ]
    if len(varying) != 1 or tensor.dim() > len(x.shape) or len(base) < 2 or x.repeats:
        return None
    groups = groups_of(base, x.axes)
    wanted = list(x.dims[varying[0]])
    if (
        tensor.numel() == draft.length
        or tensor.numel() != x.shape[varying[0]]
        or wanted not in (groups[1], groups[-1])
    ):
        return None
    values = to_array(tensor).reshape(-1).astype(np.float64)
    return ("channel_affine" if wanted == groups[1] else "feature_affine"), values


def number_of(value: object, like: Ref | None = None) -> float | None:
    """A number, also as a tensor of one, or of equal entries that is no larger than `like`; None for anything else."""
    if isinstance(value, bool | int | float):
        return float(value)
    if (
        isinstance(value, Const)
        and value.tensor.numel() == 1
        and all(isinstance(s, int) for s in value.shape)
    ):
        return float(value.tensor)
    if like is None or not isinstance(value, Const) or value.parameter or len(value.shape) > len(like.shape):
        return None
    fits = all(
        mine in (1, its) for mine, its in zip(reversed(value.shape), reversed(like.shape), strict=False)
    )
    first = value.tensor.reshape(-1)[:1]
    return float(first) if fits and first.numel() and bool((value.tensor == first).all()) else None


def add(call: Call, draft: Draft) -> Ref:
    """x + alpha * y; of booleans, logical or."""
    first, second = _two(call)
    return fit(call, draft, plus(draft, first, second, call.number("alpha", 1.0)))


def subtract(call: Call, draft: Draft) -> Ref:
    """x - alpha * y."""
    first, second = _two(call)
    return fit(call, draft, plus(draft, first, second, -call.number("alpha", 1.0)))


def reversed_subtract(call: Call, draft: Draft) -> Ref:
    """y - alpha * x."""
    first, second = _two(call)
    return fit(call, draft, plus(draft, second, first, -call.number("alpha", 1.0)))


def multiply(call: Call, draft: Draft) -> Ref:
    """x * y."""
    first, second = _two(call)
    return fit(call, draft, times(draft, first, second))


def divide(call: Call, draft: Draft) -> Ref:
    """x / y, rounded as asked."""
    made = quotient(draft, *_two(call))
    mode = call.get("rounding_mode")
    if call.op == "aten.floor_divide":
        mode = "floor"
    if mode == "floor":
        made = unary(draft, "floor", made)
    if mode == "trunc":
        made = truncated(draft, made)
    return fit(call, draft, made)


def quotient(draft: Draft, first: object, second: object) -> Ref:
    """first / second."""
    if isinstance(first, Ref) and not isinstance(second, Ref):
        value = number_of(second)
        if value is not None:
            return affine(draft, first, 1.0 / value if value else math.inf)
        if isinstance(second, Const):
            inverse = Const(tensor=1.0 / second.tensor.to(torch.float64), shape=second.shape)
            return scaled(draft, first, inverse)
    return elementwise(draft, "div", operand(draft, first), operand(draft, second))


def remainder(call: Call, draft: Draft) -> Ref:
    """x - y * floor(x / y)."""
    first, second = (operand(draft, side) for side in _two(call))
    whole = elementwise(draft, "div", first, second)
    if call.op == "aten.fmod":
        whole = truncated(draft, whole)
    else:
        whole = unary(draft, "floor", whole)
    return fit(call, draft, elementwise(draft, "sub", first, elementwise(draft, "mul", whole, second)))


def reciprocal(call: Call, draft: Draft) -> Ref:
    """1 / x."""
    return elementwise(draft, "div", number(draft, 1.0), call.ref())


def square(call: Call, draft: Draft) -> Ref:
    """x * x."""
    return elementwise(draft, "mul", call.ref(), call.ref())


def power(call: Call, draft: Draft) -> Ref:
    """x ** e for a number e; b ** x for a number b above 0."""
    first, second = _two(call)
    exponent, base = number_of(second), number_of(first)
    if isinstance(first, Ref) and exponent is not None:
        return raised(draft, first, exponent)
    if isinstance(second, Ref) and base is not None and base > 0:
        return fit(call, draft, unary(draft, "exp", affine(draft, second, math.log(base))))
    raise Unsupported("a power whose exponent is no number", "x ** 2, x ** 0.5, exp(y * log(x))")


def raised(draft: Draft, x: Ref, exponent: float) -> Ref:
    """x ** exponent."""
    if exponent == 1.0:
        return x
    if exponent == 2.0:
        return elementwise(draft, "mul", x, x)
    if exponent == 3.0:
        return elementwise(draft, "mul", elementwise(draft, "mul", x, x), x)
    if exponent in (0.5, -0.5):
        return unary(draft, "sqrt" if exponent > 0 else "rsqrt", x)
    return unary(draft, "power", x, {"exponent": exponent})


def addcmul(call: Call, draft: Draft) -> Ref:
    """x + value * a * b, or a / b."""
    first, second = call.get("tensor1"), call.get("tensor2")
    if isinstance(first, Ref) or isinstance(second, Ref):
        part: object = (
            quotient(draft, first, second) if call.op == "aten.addcdiv" else times(draft, first, second)
        )
    else:
        part = elementwise(
            draft,
            "div" if call.op == "aten.addcdiv" else "mul",
            operand(draft, first),
            operand(draft, second),
        )
    return plus(draft, call.get("self"), part, call.number("value", 1.0))


def lerp(call: Call, draft: Draft) -> Ref:
    """x + w * (y - x)."""
    start, end, weight = call.value(draft, "self"), call.value(draft, "end"), call.get("weight")
    return plus(draft, start, times(draft, elementwise(draft, "sub", end, start), weight))


def extremum(op: str) -> Lowering:
    """The larger or smaller of two values."""

    def lower(call: Call, draft: Draft) -> Ref:
        first, second = _two(call)
        bound = number_of(second)
        if isinstance(first, Ref) and bound is not None:
            return clamped(draft, first, *((bound, None) if op == "maximum" else (None, bound)))
        return elementwise(draft, op, operand(draft, first), operand(draft, second))

    return lower


def compare(op: str, *, turned: bool = False) -> Lowering:
    """A comparison; turned: with its sides exchanged."""

    def lower(call: Call, draft: Draft) -> Ref:
        first, second = (operand(draft, side) for side in _two(call))
        return elementwise(draft, op, *((second, first) if turned else (first, second)))

    return lower


def logical(op: str) -> Lowering:
    """and, or, xor of what is not zero."""

    def lower(call: Call, draft: Draft) -> Ref:
        sides = [_truth(call, draft, index, side) for index, side in enumerate(_two(call))]
        return elementwise(draft, op, *sides)

    return lower


def logical_not(call: Call, draft: Draft) -> Ref:
    """1 - x of booleans."""
    return affine(draft, _truth(call, draft, 0, call.ref()), -1.0, 1.0)


def _truth(call: Call, draft: Draft, place: int, side: object) -> Ref:
    found = operand(draft, side)
    node = call.node.args[place]
    dtype = node.meta["val"].dtype if isinstance(node, torch.fx.Node) else torch.bool
    if call.op.startswith("aten.bitwise") and dtype != torch.bool:
        raise Unsupported("bits of integers", "logical operations of booleans")
    return converted(draft, found, dtype, torch.bool)


def where(call: Call, draft: Draft) -> Ref:
    """a where the condition holds, else b."""
    sides = [operand(draft, call.get(name)) for name in ("condition", "self", "other")]
    return elementwise(draft, "where", *sides)


def masked_fill(call: Call, draft: Draft) -> Ref:
    """value where the mask holds, else x."""
    mask, value, x = (operand(draft, call.get(name)) for name in ("mask", "value", "self"))
    return elementwise(draft, "where", mask, value, x)


def is_nan(call: Call, draft: Draft) -> Ref:
    """x != x."""
    return elementwise(draft, "not_equal", call.ref(), call.ref())


def nan_to_num(call: Call, draft: Draft) -> Ref:
    """Numbers in place of NaN and infinities."""
    x = call.ref()
    fine = elementwise(draft, "equal", x, x)
    kept = elementwise(draft, "where", fine, x, number(draft, call.number("nan", 0.0)))
    top = float(np.finfo(np.float32).max)
    return clamped(draft, kept, call.number("neginf", -top), call.number("posinf", top))


def _two(call: Call) -> tuple[object, object]:
    first = call.get("self", "input")
    return first, call.get("other", "exponent", "mat2")


def fit(call: Call, draft: Draft, made: Ref) -> Ref:
    """A boolean result of arithmetic is 0 or 1 again."""
    return made if call.dtype != torch.bool else clamped(draft, made, 0.0, 1.0)


LOWERINGS: dict[str, Lowering] = {
    "aten.add": add,
    "aten.sub": subtract,
    "aten.subtract": subtract,
    "aten.rsub": reversed_subtract,
    "aten.mul": multiply,
    "aten.multiply": multiply,
    "aten.div": divide,
    "aten.divide": divide,
    "aten.true_divide": divide,
    "aten.floor_divide": divide,
    "aten.remainder": remainder,
    "aten.fmod": remainder,
    "aten.reciprocal": reciprocal,
    "aten.square": square,
    "aten.pow": power,
    "aten.float_power": power,
    "aten.addcmul": addcmul,
    "aten.addcdiv": addcmul,
    "aten.lerp": lerp,
    "aten.maximum": extremum("maximum"),
    "aten.minimum": extremum("minimum"),
    "aten.fmax": extremum("maximum"),
    "aten.fmin": extremum("minimum"),
    "aten.eq": compare("equal"),
    "aten.ne": compare("not_equal"),
    "aten.not_equal": compare("not_equal"),
    "aten.lt": compare("less"),
    "aten.less": compare("less"),
    "aten.le": compare("less_equal"),
    "aten.less_equal": compare("less_equal"),
    "aten.gt": compare("less", turned=True),
    "aten.greater": compare("less", turned=True),
    "aten.ge": compare("less_equal", turned=True),
    "aten.greater_equal": compare("less_equal", turned=True),
    "aten.logical_and": logical("mul"),
    "aten.logical_or": logical("maximum"),
    "aten.logical_xor": logical("not_equal"),
    "aten.bitwise_and": logical("mul"),
    "aten.bitwise_or": logical("maximum"),
    "aten.bitwise_xor": logical("not_equal"),
    "aten.__and__": logical("mul"),
    "aten.__or__": logical("maximum"),
    "aten.__xor__": logical("not_equal"),
    "aten.logical_not": logical_not,
    "aten.bitwise_not": logical_not,
    "aten.where": where,
    "aten.masked_fill": masked_fill,
    "aten.isnan": is_nan,
    "aten.nan_to_num": nan_to_num,
}
