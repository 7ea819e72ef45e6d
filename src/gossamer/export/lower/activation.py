"""Elementwise functions of one value: emitted on the value as it lies in the network, whatever the model sees."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from gossamer.export.draft import Draft, Unsupported
from gossamer.export.layout import Ref
from gossamer.export.lower.call import Call, Lowering, operand
from gossamer.export.lower.pairwise import elementwise
from gossamer.graph.strict_json import Json


def unary(draft: Draft, op: str, x: Ref, attributes: Mapping[str, Json] | None = None) -> Ref:
    """Emit `op` of one value."""
    return replace(x, value=draft.emit(op, [x.value], draft.base(x), attributes=attributes))


def affine(draft: Draft, x: Ref, scale: float, shift: float = 0.0) -> Ref:
    """scale * x + shift."""
    if scale == 1.0 and shift == 0.0:
        return x
    return unary(draft, "affine", x, {"scale": scale, "shift": shift})


def number(draft: Draft, value: float) -> Ref:
    """A number as a value that broadcasts."""
    return operand(draft, float(value))


def simple(op: str) -> Lowering:
    """A lowering for an operator without attributes."""

    def lower(call: Call, draft: Draft) -> Ref:
        return unary(draft, op, call.ref())

    return lower


def gelu(call: Call, draft: Draft) -> Ref:
    """GELU, exact or by tanh."""
    kind = call.get("approximate", default="none")
    assert isinstance(kind, str)
    return unary(draft, "gelu", call.ref(), {"approximate": kind})


def clamp(call: Call, draft: Draft) -> Ref:
    """hardtanh and clamp: from 0 to 6 is relu6, from 0 upwards relu; bounds may be tensors."""
    x, low, high = call.ref(), call.get("min_val", "min"), call.get("max_val", "max")
    if all(bound is None or isinstance(bound, int | float) for bound in (low, high)):
        return clamped(draft, x, low, high)  # type: ignore[arg-type]
    if low is not None:
        x = elementwise(draft, "maximum", x, operand(draft, low))
    return x if high is None else elementwise(draft, "minimum", x, operand(draft, high))


def clamped(draft: Draft, x: Ref, low: float | None, high: float | None) -> Ref:
    """min(max(x, low), high)."""
    low, high = (None if b is None or not math.isfinite(b) else b for b in (low, high))
    if low == 0 and high == 6:
        return unary(draft, "relu6", x)
    if low == 0 and high is None:
        return unary(draft, "relu", x)
    if low is None and high is None:
        return x
    bounds: dict[str, Json] = {
        "low": None if low is None else float(low),
        "high": None if high is None else float(high),
    }
    return unary(draft, "clamp", x, bounds)


def softmax(call: Call, draft: Draft) -> Ref:
    """Softmax over one dimension."""
    x, axis = draft.axis(call.ref(), call.dim())
    return unary(draft, "softmax", x, {"axis": axis})


def softmin(call: Call, draft: Draft) -> Ref:
    """Softmax of -x."""
    x, axis = draft.axis(unary(draft, "neg", call.ref()), call.dim())
    return unary(draft, "softmax", x, {"axis": axis})


def leaky_relu(call: Call, draft: Draft) -> Ref:
    """x, or slope * x below zero."""
    return unary(draft, "leaky_relu", call.ref(), {"slope": call.number("negative_slope", 0.01)})


def rrelu(call: Call, draft: Draft) -> Ref:
    """At inference the mean slope."""
    slope = (call.number("lower", 0.125) + call.number("upper", 1 / 3)) / 2
    return unary(draft, "leaky_relu", call.ref(), {"slope": slope})


def prelu(call: Call, draft: Draft) -> Ref:
    """relu(x) + w * min(x, 0), w one number or one a channel."""
    x, weight = call.ref(), call.const("weight")
    assert weight is not None
    values = weight.tensor.reshape(-1)
    if values.numel() == 1:
        return unary(draft, "leaky_relu", x, {"slope": float(values[0])})
    shape = [1] * len(x.shape)
    shape[1] = values.numel()
    factor = draft.constant(values.reshape(shape).detach().cpu().numpy(), parameter=weight.parameter)
    below = elementwise(draft, "mul", clamped(draft, x, None, 0.0), factor)
    return elementwise(draft, "add", unary(draft, "relu", x), below)


def elu(call: Call, draft: Draft) -> Ref:
    """ELU; alpha, scale and input scale as torch has them."""
    inner = call.number("input_scale", 1.0)
    if inner != 1.0:
        raise Unsupported("elu with an input scale", "elu(x, alpha)")
    made = unary(draft, "elu", call.ref(), {"alpha": call.number("alpha", 1.0)})
    return affine(draft, made, call.number("scale", 1.0))


def selu(call: Call, draft: Draft) -> Ref:
    """scale * elu(x, alpha) with the two numbers of the paper."""
    made = unary(draft, "elu", call.ref(), {"alpha": 1.6732632423543772})
    return affine(draft, made, 1.0507009873554805)


def celu(call: Call, draft: Draft) -> Ref:
    """alpha * elu(x / alpha)."""
    alpha = call.number("alpha", 1.0)
    made = unary(draft, "elu", affine(draft, call.ref(), 1 / alpha), {"alpha": 1.0})
    return affine(draft, made, alpha)


def softplus(call: Call, draft: Draft) -> Ref:
    """ln(1 + exp(beta x)) / beta."""
    attributes: dict[str, Json] = {
        "beta": call.number("beta", 1.0),
        "threshold": call.number("threshold", 20.0),
    }
    return unary(draft, "softplus", call.ref(), attributes)


def log_sigmoid(call: Call, draft: Draft) -> Ref:
    """-softplus(-x)."""
    inner = unary(draft, "neg", call.ref())
    return unary(draft, "neg", unary(draft, "softplus", inner, {"beta": 1.0, "threshold": 20.0}))


def softsign(call: Call, draft: Draft) -> Ref:
    """x / (1 + |x|)."""
    x = call.ref()
    return elementwise(draft, "div", x, affine(draft, unary(draft, "abs", x), 1.0, 1.0))


def tanhshrink(call: Call, draft: Draft) -> Ref:
    """x - tanh(x)."""
    x = call.ref()
    return elementwise(draft, "sub", x, unary(draft, "tanh", x))


def softshrink(call: Call, draft: Draft) -> Ref:
    """x - clip(x, -lambda, lambda)."""
    x, bound = call.ref(), call.number("lambd", 0.5)
    return elementwise(draft, "sub", x, clamped(draft, x, -bound, bound))


def hardshrink(call: Call, draft: Draft) -> Ref:
    """x where |x| > lambda, else 0."""
    x = call.ref()
    far = elementwise(draft, "less", number(draft, call.number("lambd", 0.5)), unary(draft, "abs", x))
    return elementwise(draft, "where", far, x, number(draft, 0.0))


def threshold(call: Call, draft: Draft) -> Ref:
    """x where x > threshold, else value."""
    x = call.ref()
    far = elementwise(draft, "less", number(draft, call.number("threshold", 0.0)), x)
    return elementwise(draft, "where", far, x, number(draft, call.number("value", 0.0)))


def chain(*steps: tuple[str, float, float]) -> Lowering:
    """A lowering for a function that is a chain of steps (op, scale, shift): op, then scale * y + shift."""

    def lower(call: Call, draft: Draft) -> Ref:
        x = call.ref()
        for op, scale, shift in steps:
            x = affine(draft, unary(draft, op, x) if op else x, scale, shift)
        return x

    return lower


def rounded(call: Call, draft: Draft) -> Ref:
    """To the nearest whole number, halves to the even one."""
    if call.get("decimals", default=0) not in (0, None):
        raise Unsupported("rounding to decimals", "round(x)")
    x = call.ref()
    down = unary(draft, "floor", affine(draft, x, 1.0, 0.5))
    half = elementwise(draft, "equal", elementwise(draft, "sub", down, x), number(draft, 0.5))
    even = affine(draft, unary(draft, "floor", affine(draft, down, 0.5)), 2.0)
    odd = elementwise(draft, "not_equal", even, down)
    return elementwise(draft, "sub", down, elementwise(draft, "mul", half, odd))


def truncated(draft: Draft, x: Ref) -> Ref:
    """Towards zero."""
    return elementwise(draft, "mul", unary(draft, "sign", x), unary(draft, "floor", unary(draft, "abs", x)))


def trunc(call: Call, draft: Draft) -> Ref:
    """Towards zero."""
    return truncated(draft, call.ref())


def frac(call: Call, draft: Draft) -> Ref:
    """What `trunc` leaves."""
    return elementwise(draft, "sub", call.ref(), truncated(draft, call.ref()))


def tangent(call: Call, draft: Draft) -> Ref:
    """sin / cos."""
    x = call.ref()
    return elementwise(draft, "div", unary(draft, "sin", x), unary(draft, "cos", x))


def hyperbolic(sign: float) -> Lowering:
    """(exp(x) +- exp(-x)) / 2."""

    def lower(call: Call, draft: Draft) -> Ref:
        x = call.ref()
        grown, shrunk = unary(draft, "exp", x), unary(draft, "exp", unary(draft, "neg", x))
        return affine(draft, elementwise(draft, "add" if sign > 0 else "sub", grown, shrunk), 0.5)

    return lower


def to(call: Call, draft: Draft) -> Ref:
    """A conversion: to a boolean compares with zero, to an integer cuts off the fraction."""
    return converted(draft, call.ref(), call.node.args[0].meta["val"].dtype, call.dtype)  # type: ignore[union-attr]


def converted(draft: Draft, x: Ref, old: torch.dtype, new: torch.dtype) -> Ref:
    """`x` of type `old` as type `new`; every type is kept as float32."""
    if new in (torch.float64, torch.float16, torch.bfloat16) or new.is_complex:
        raise Unsupported(f"conversion to {str(new).removeprefix('torch.')}", "float32 throughout")
    if new == torch.bool and old != torch.bool:
        return elementwise(draft, "not_equal", x, number(draft, 0.0))
    if not new.is_floating_point and old.is_floating_point:
        return truncated(draft, x)
    return x


LN2, LN10 = float(np.log(2.0)), float(np.log(10.0))

LOWERINGS: dict[str, Lowering] = {
    **{
        f"aten.{op}": simple(op)
        for op in (
            "relu",
            "relu6",
            "silu",
            "sigmoid",
            "tanh",
            "exp",
            "log",
            "sqrt",
            "rsqrt",
            "abs",
            "neg",
            "erf",
            "sin",
            "cos",
            "floor",
            "sign",
            "hardswish",
            "hardsigmoid",
            "mish",
        )
    },
    "aten.absolute": simple("abs"),
    "aten.negative": simple("neg"),
    "aten.special_erf": simple("erf"),
    "aten.gelu": gelu,
    "aten.hardtanh": clamp,
    "aten.clamp": clamp,
    "aten.clip": clamp,
    "aten.clamp_min": clamp,
    "aten.clamp_max": clamp,
    "aten.softmax": softmax,
    "aten._softmax": softmax,
    "aten._safe_softmax": softmax,
    "aten.softmin": softmin,
    "aten.leaky_relu": leaky_relu,
    "aten.rrelu": rrelu,
    "aten.prelu": prelu,
    "aten._prelu_kernel": prelu,
    "aten.elu": elu,
    "aten.selu": selu,
    "aten.celu": celu,
    "aten.softplus": softplus,
    "aten.log_sigmoid": log_sigmoid,
    "aten.softsign": softsign,
    "aten.tanhshrink": tanhshrink,
    "aten.softshrink": softshrink,
    "aten.hardshrink": hardshrink,
    "aten.threshold": threshold,
    "aten.round": rounded,
    "aten.trunc": trunc,
    "aten.fix": trunc,
    "aten.frac": frac,
    "aten.tan": tangent,
    "aten.sinh": hyperbolic(-1.0),
    "aten.cosh": hyperbolic(1.0),
    "aten.ceil": chain(("neg", 1.0, 0.0), ("floor", -1.0, 0.0)),
    "aten.log1p": chain(("", 1.0, 1.0), ("log", 1.0, 0.0)),
    "aten.expm1": chain(("exp", 1.0, -1.0)),
    "aten.exp2": chain(("", LN2, 0.0), ("exp", 1.0, 0.0)),
    "aten.log2": chain(("log", 1 / LN2, 0.0)),
    "aten.log10": chain(("log", 1 / LN10, 0.0)),
    "aten.erfc": chain(("erf", -1.0, 1.0)),
    "aten.deg2rad": chain(("", math.pi / 180, 0.0)),
    "aten.rad2deg": chain(("", 180 / math.pi, 0.0)),
    "aten.to": to,
    "aten._to_copy": to,
    "aten.type_as": to,
}
