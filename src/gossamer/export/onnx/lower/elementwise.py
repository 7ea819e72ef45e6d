"""Elementwise operators of one, two and three operands, and what they become when one operand is a constant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gossamer.export.draft import Unsupported
from gossamer.export.onnx.lower.broadcast import align
from gossamer.export.onnx.scope import Call, Lowering, Scope
from gossamer.export.onnx.values import Const, Ref
from gossamer.export.weight import Weight


def simple(op: str) -> Lowering:
    """An operator of one input without attributes."""
    return lambda call: call.like(call.ref(), op)


def number(op: str, attribute: str, key: str, default: float) -> Lowering:
    """An operator of one input with one number."""
    return lambda call: call.like(call.ref(), op, {key: float(call.get(attribute, default))})


def affine(call: Call, ref: Ref, scale: float, shift: float) -> Ref:
    """scale x + shift. Over images it is a map of channels, which folds into convolutions."""
    if scale == 1.0 and shift == 0.0:
        return ref
    shape = call.scope.shape(ref.value)
    if len(shape) == 4:
        return replace(
            ref,
            value=channel_affine(call.scope, ref.value, np.full(shape[1], scale), np.full(shape[1], shift)),
        )
    return call.like(ref, "affine", {"scale": scale, "shift": shift})


def channel_affine(scope: Scope, value: str, scale: np.ndarray, shift: np.ndarray) -> str:
    """scale[c] x + shift[c] over dimension 1 of the network's value."""
    name = scope.draft.fresh_name(scope.draft.current)
    weights = {
        "scale": Weight(name=f"{name}.scale", values=np.asarray(scale, np.float64)),
        "shift": Weight(name=f"{name}.shift", values=np.asarray(shift, np.float64)),
    }
    return scope.draft.emit(
        "channel_affine", [value], scope.draft.shapes[value], weights=weights, reserved=name
    )


def binary(op: str) -> Lowering:
    """Arithmetic of two operands."""

    def lower(call: Call) -> Ref:
        found = align(call.scope, [_entry(call, 0), _entry(call, 1)])
        first, second = found.operands
        if isinstance(first, np.ndarray) != isinstance(second, np.ndarray):
            made = _with_constant(call, op, found.like, first, second)
            if made is not None:
                return made
        return found.result(call.scope.emit(op, found.names(call.scope), found.shape))

    return lower


def _with_constant(
    call: Call, op: str, like: Ref, first: str | np.ndarray, second: str | np.ndarray
) -> Ref | None:
    """x op c and c op x as an affine map of all numbers or of channels; None where it is neither."""
    swapped = isinstance(first, np.ndarray)
    value, constant = (second, first) if swapped else (first, second)
    assert isinstance(value, str)
    assert isinstance(constant, np.ndarray)
    c = constant.astype(np.float64)
    forms = {
        ("add", False): (np.ones_like(c), c),
        ("add", True): (np.ones_like(c), c),
        ("sub", False): (np.ones_like(c), -c),
        ("sub", True): (-np.ones_like(c), c),
        ("mul", False): (c, np.zeros_like(c)),
        ("mul", True): (c, np.zeros_like(c)),
    }
    if op == "div" and not swapped and (c != 0).all():
        forms["div", False] = (1.0 / c, np.zeros_like(c))
    if (op, swapped) not in forms or not all(np.isfinite(part).all() for part in forms[op, swapped]):
        return None
    scale, shift = forms[op, swapped]
    ref = replace(like, value=value, dims=tuple(call.scope.shape(value)[place] for place in like.order))
    if c.size == 1:
        return affine(call, ref, float(scale.reshape(-1)[0]), float(shift.reshape(-1)[0]))
    shape = call.scope.shape(value)
    if c.ndim >= 2 and c.size == c.shape[1] == shape[1]:
        return replace(ref, value=channel_affine(call.scope, value, scale.reshape(-1), shift.reshape(-1)))
    return None


def chain(op: str) -> Lowering:
    """Max, Min, Sum, Mean of any number of operands."""

    def lower(call: Call) -> Ref:
        total: Const | Ref | None = None
        for index in range(len(call.inputs)):
            entry = _entry(call, index)
            if total is None:
                total = entry
                continue
            found = align(call.scope, [total, entry])
            total = found.result(call.scope.emit(op, found.names(call.scope), found.shape))
        assert isinstance(total, Ref)
        return affine(call, total, 1.0 / len(call.inputs), 0.0) if call.op == "Mean" else total

    return lower


def power(call: Call) -> Ref:
    """x ^ c with a number c."""
    exponent = call.needed(1, "exponent").array.astype(np.float64)
    if exponent.size != 1:
        raise Unsupported("Pow with an exponent for each element", "Pow with one number")
    value = float(exponent.reshape(-1)[0])
    if value == 0.5:
        return call.like(call.ref(), "sqrt")
    return call.like(call.ref(), "power", {"exponent": value}) if value != 1.0 else call.ref()


def clip(call: Call) -> Ref:
    """From 0 upwards is relu, from 0 to 6 relu6."""
    low, high = call.number(1, "min", None), call.number(2, "max", None)
    low = None if low is None or low <= -3e38 else low
    high = None if high is None or high >= 3e38 else high
    if low == 0 and high in (6, None):
        return call.like(call.ref(), "relu6" if high == 6 else "relu")
    return call.like(call.ref(), "clamp", {"low": low, "high": high})


def prelu(call: Call) -> Ref:
    """max(x, 0) + slope min(x, 0)."""
    slope = call.needed(1, "slope")
    if slope.array.size == 1:
        return call.like(call.ref(), "leaky_relu", {"slope": float(slope.array.reshape(-1)[0])})
    x = call.ref()
    negative = call.like(x, "clamp", {"low": None, "high": 0.0})
    found = align(call.scope, [negative, slope])
    part = _with_constant(call, "mul", found.like, *found.operands)
    scaled = (
        part
        if part is not None
        else found.result(call.scope.emit("mul", found.names(call.scope), found.shape))
    )
    both = align(call.scope, [call.like(x, "relu"), scaled])
    return both.result(call.scope.emit("add", both.names(call.scope), both.shape))


def hard_sigmoid(call: Call) -> Ref:
    """clip(alpha x + beta, 0, 1)."""
    alpha, beta = float(call.get("alpha", 0.2)), float(call.get("beta", 0.5))
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return call.like(call.ref(), "hardsigmoid")
    return call.like(affine(call, call.ref(), alpha, beta), "clamp", {"low": 0.0, "high": 1.0})


def selu(call: Call) -> Ref:
    """gamma elu(x, alpha)."""
    alpha = float(call.get("alpha", 1.6732632))
    gamma = float(call.get("gamma", 1.0507010))
    return affine(call, call.like(call.ref(), "elu", {"alpha": alpha}), gamma, 0.0)


def celu(call: Call) -> Ref:
    """alpha elu(x / alpha, 1)."""
    alpha = float(call.get("alpha", 1.0))
    return affine(
        call, call.like(affine(call, call.ref(), 1 / alpha, 0.0), "elu", {"alpha": 1.0}), alpha, 0.0
    )


def softsign(call: Call) -> Ref:
    """x / (1 + |x|)."""
    x = call.ref()
    below = affine(call, call.like(x, "abs"), 1.0, 1.0)
    return replace(x, value=call.scope.emit("div", [x.value, below.value], call.scope.shape(x.value)))


def swish(call: Call) -> Ref:
    """x sigmoid(alpha x)."""
    alpha = float(call.get("alpha", 1.0))
    x = call.ref()
    if alpha == 1.0:
        return call.like(x, "silu")
    gate = call.like(affine(call, x, alpha, 0.0), "sigmoid")
    return replace(x, value=call.scope.emit("mul", [x.value, gate.value], call.scope.shape(x.value)))


def compare(op: str, *, swap: bool = False) -> Lowering:
    """1 where it holds, else 0."""

    def lower(call: Call) -> Ref:
        entries = [_entry(call, 0), _entry(call, 1)]
        found = align(call.scope, entries[::-1] if swap else entries)
        return found.result(call.scope.emit(op, found.names(call.scope), found.shape))

    return lower


def where(call: Call) -> Ref:
    """The condition is 0 or 1."""
    found = align(call.scope, [_entry(call, index) for index in range(3)])
    return found.result(call.scope.emit("where", found.names(call.scope), found.shape))


def is_nan(call: Call) -> Ref:
    """x != x."""
    x = call.ref()
    return replace(x, value=call.scope.emit("not_equal", [x.value, x.value], call.scope.shape(x.value)))


def cast(call: Call) -> Ref:
    """Numbers stay what they are; towards bool they become 0 or 1; to integers they are cut off."""
    import onnx

    x, kind = call.ref(), int(call.get("to", 1))
    integers = (onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.UINT8, onnx.TensorProto.INT8)
    if kind == onnx.TensorProto.BOOL:
        zero = call.scope.constant(np.zeros((1,) * (len(x.dims) - 1)))
        return replace(x, value=call.scope.emit("not_equal", [x.value, zero], call.scope.shape(x.value)))
    if kind in integers and x.value not in call.scope.whole:
        sign, floor = call.like(x, "sign"), call.like(call.like(x, "abs"), "floor")
        return replace(x, value=call.scope.emit("mul", [sign.value, floor.value], call.scope.shape(x.value)))
    return x


def gelu(call: Call) -> Ref:
    """Exact, or by tanh."""
    return call.like(call.ref(), "gelu", {"approximate": str(call.get("approximate", "none"))})


def _entry(call: Call, index: int) -> Const | Ref:
    found = call.given(index)
    if found is None:
        raise Unsupported(f"{call.op} without input {index}", f"{call.op} with all its inputs")
    return found


LOWERINGS: dict[str, Lowering] = {
    **{
        name: simple(op)
        for name, op in {
            "Relu": "relu",
            "Sigmoid": "sigmoid",
            "Tanh": "tanh",
            "Exp": "exp",
            "Log": "log",
            "Sqrt": "sqrt",
            "Abs": "abs",
            "Erf": "erf",
            "Sin": "sin",
            "Cos": "cos",
            "Floor": "floor",
            "Sign": "sign",
            "HardSwish": "hardswish",
            "Mish": "mish",
        }.items()
    },
    "Neg": lambda call: affine(call, call.ref(), -1.0, 0.0),
    "Not": lambda call: affine(call, call.ref(), -1.0, 1.0),
    "Reciprocal": lambda call: call.like(call.ref(), "power", {"exponent": -1.0}),
    "LeakyRelu": number("leaky_relu", "alpha", "slope", 0.01),
    "Elu": number("elu", "alpha", "alpha", 1.0),
    "Celu": celu,
    "Selu": selu,
    "Softplus": lambda call: call.like(call.ref(), "softplus", {"beta": 1.0, "threshold": 20.0}),
    "Softsign": softsign,
    "HardSigmoid": hard_sigmoid,
    "Swish": swish,
    "Gelu": gelu,
    "PRelu": prelu,
    "Clip": clip,
    "Pow": power,
    "Add": binary("add"),
    "Sub": binary("sub"),
    "Mul": binary("mul"),
    "Div": binary("div"),
    "And": binary("mul"),
    "Or": chain("maximum"),
    "Xor": compare("not_equal"),
    "Max": chain("maximum"),
    "Min": chain("minimum"),
    "Sum": chain("add"),
    "Mean": chain("add"),
    "Equal": compare("equal"),
    "Less": compare("less"),
    "LessOrEqual": compare("less_equal"),
    "Greater": compare("less", swap=True),
    "GreaterOrEqual": compare("less_equal", swap=True),
    "Where": where,
    "IsNaN": is_nan,
    "Cast": cast,
    "CastLike": lambda call: call.ref(),
}
