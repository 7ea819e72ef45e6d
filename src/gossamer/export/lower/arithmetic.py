"""Sums of values, and arithmetic with constants: y = scale * x + shift per channel is one operator,
`channel_affine`."""

from dataclasses import replace

import numpy as np

from gossamer.export.draft import Const, Draft, Ref, Unsupported, Weight
from gossamer.export.lower.call import Call, Lowering, describe, int_size, to_array
from gossamer.export.lower.linear import along_last

Vector = np.ndarray


def add(call: Call, draft: Draft) -> Ref:
    """x + alpha * y."""
    return _sum(call, draft, _number(call, "alpha", 1.0))


def subtract(call: Call, draft: Draft) -> Ref:
    """x - alpha * y."""
    return _sum(call, draft, -_number(call, "alpha", 1.0))


def reversed_subtract(call: Call, draft: Draft) -> Ref:
    """y - alpha * x, with a constant y."""
    x = _affine(draft, call.ref(), call, -_number(call, "alpha", 1.0), 0.0)
    return _affine(draft, x, call, 1.0, _constant(call.get("other")))


def multiply(call: Call, draft: Draft) -> Ref:
    """Product with a constant, or x * sigmoid(x) = silu(x)."""
    first, second = call.get("self"), call.get("other")
    if isinstance(first, Ref) and isinstance(second, Ref):
        for value, gate in ((first, second), (second, first)):
            node = draft.producer(gate.value)
            gated = node is not None and node.op == "sigmoid" and node.inputs == (value.value,)
            if gated and value.shape == gate.shape and not any((*value.padding, *gate.padding)):
                out = draft.emit("silu", [value.value], draft.base(value))
                return draft.view(out, value.shape, value.origin)
        raise Unsupported(
            "product of two values that both depend on the input", "add, or a product with a constant"
        )
    x, factor = (first, second) if isinstance(first, Ref) else (second, first)
    assert isinstance(x, Ref)
    return _affine(draft, x, call, _constant(factor), 0.0)


def divide(call: Call, draft: Draft) -> Ref:
    """Quotient by a constant."""
    x, divisor = call.get("self"), call.get("other")
    if not isinstance(x, Ref) or isinstance(divisor, Ref) or call.get("rounding_mode") is not None:
        raise Unsupported(
            "division by a value that depends on the input, or with rounding", "division by a constant"
        )
    return _affine(draft, x, call, 1.0 / _constant(divisor), 0.0)


def negate(call: Call, draft: Draft) -> Ref:
    """-x."""
    return _affine(draft, call.ref(), call, -1.0, 0.0)


def channel_affine(draft: Draft, x: Ref, scale: Vector, shift: Vector, name: str | None = None) -> Ref:
    """Emit y = scale[c] x + shift[c] over dimension 1, on the value as it lies in the network where that
    has the same channels."""
    base = draft.base(x)
    if any(x.padding) or base[:2] != x.shape[:2]:
        x = replace(x, value=draft.settle(x), padding=(0, 0, 0, 0))
        base = draft.base(x)
    unique = draft.fresh_name(name or draft.current or "channel_affine")
    weights = {
        "scale": Weight(name=f"{unique}.scale", values=np.asarray(scale, np.float64)),
        "shift": Weight(name=f"{unique}.shift", values=np.asarray(shift, np.float64)),
    }
    out = draft.emit("channel_affine", [x.value], base, weights=weights, reserved=unique)
    return draft.view(out, x.shape, x.origin)


def _sum(call: Call, draft: Draft, alpha: float) -> Ref:
    first, second = call.get("self"), call.get("other")
    if isinstance(first, Ref) and isinstance(second, Ref):
        if first.shape != second.shape:
            raise Unsupported(
                f"sum of the shapes {describe(first.shape)} and {describe(second.shape)} (broadcasting)",
                "a sum of two values of equal shape",
            )
        if alpha != 1.0:
            second = _affine(draft, second, call, alpha, 0.0)
        return pairwise(draft, "add", first, second)
    if isinstance(first, Ref):
        return _affine(draft, first, call, 1.0, alpha * _constant(second))
    assert isinstance(second, Ref)
    return _affine(draft, second, call, alpha, _constant(first))


def pairwise(draft: Draft, op: str, first: Ref, second: Ref) -> Ref:
    """An elementwise operation of two values, on the shape that both have in the network where it is the
    same."""
    if draft.base(first) == draft.base(second) and not any(first.padding) and not any(second.padding):
        out = draft.emit(op, [first.value, second.value], draft.base(first))
        return draft.view(out, first.shape, first.origin)
    return draft.emit(op, [draft.settle(first), draft.settle(second)], first.shape)


def _affine(draft: Draft, x: Ref, call: Call, scale: Vector | float, shift: Vector | float) -> Ref:
    """scale * x + shift with constants that broadcast: over dimension 1, or over the last one."""
    scale, shift = np.asarray(scale, np.float64), np.asarray(shift, np.float64)
    if np.all(scale == 1.0) and np.all(shift == 0.0) and _axis(x, scale, shift) is not None:
        return draft.copy(x)
    axis = _axis(x, scale, shift)
    if axis is None or len(x.shape) < 2:
        shape = np.broadcast_shapes(scale.shape, shift.shape)
        raise Unsupported(
            f"{call.op.removeprefix('aten.')} of a value of shape {describe(x.shape)} and a constant of shape {list(shape)}",
            "a constant that is a number, or has one entry a channel (dimension 1) or a feature (last dimension)",
        )
    count = int_size(x.shape[axis])
    scales, shifts = (np.broadcast_to(v.reshape(-1), (count,)) for v in (scale, shift))
    if axis == 1:
        return channel_affine(draft, x, scales, shifts)
    unique = draft.fresh_name(draft.current or "affine")
    weights = {
        "weight": Weight(
            name=f"{unique}.weight",
            values=np.diag(scales),
            mask=np.eye(count, dtype=np.bool_),
            of_model=False,
        ),
        "bias": Weight(name=f"{unique}.bias", values=shifts),
    }
    return along_last(draft, x, weights, reserved=unique)


def _axis(x: Ref, *constants: Vector) -> int | None:
    """The one dimension that the constants vary over; 1 where they are numbers; None where there is none
    such."""
    rank = len(x.shape)
    varying: set[int] = set()
    for constant in constants:
        if constant.ndim > rank:
            return None
        for place, size in enumerate(constant.shape, start=rank - constant.ndim):
            if size != 1:
                if size != x.shape[place]:
                    return None
                varying.add(place)
    if not varying:
        return 1
    return varying.pop() if varying in ({1}, {rank - 1}) else None


def _constant(value: object) -> Vector:
    if isinstance(value, Const):
        return to_array(value.tensor).astype(np.float64)
    if isinstance(value, bool | int | float):
        return np.asarray(float(value))
    raise Unsupported(
        f"arithmetic with {describe(value)}", "arithmetic with constants, or a sum of two values"
    )


def _number(call: Call, name: str, default: float) -> float:
    value = call.get(name, default=default)
    if not isinstance(value, int | float):
        raise Unsupported(f"{call.op} with {name} {describe(value)}", f"a number for {name}")
    return float(value)


LOWERINGS: dict[str, Lowering] = {
    "aten.add": add,
    "aten.sub": subtract,
    "aten.subtract": subtract,
    "aten.rsub": reversed_subtract,
    "aten.mul": multiply,
    "aten.multiply": multiply,
    "aten.div": divide,
    "aten.true_divide": divide,
    "aten.neg": negate,
}
