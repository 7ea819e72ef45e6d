"""Numbers are moved, repeated, left out or padded; `constant` is a stored value."""

import numpy as np

from gossamer.graph.operators.attributes import int_attribute, int_list, number_attribute
from gossamer.graph.operators.reshaping import shape_attribute
from gossamer.runtime.reference.base import Call, Floats, Run

_PAD_MODES = {"reflect": "reflect", "replicate": "edge"}


def _flatten(call: Call) -> Floats:
    x = call.inputs[0]
    return x.reshape(*x.shape[: int_attribute(call.node, "start")], -1)


def _reshape(call: Call) -> Floats:
    x = call.inputs[0]
    return x.reshape(x.shape[0], *shape_attribute(call, call.length.size))


def _permute(call: Call) -> Floats:
    return call.inputs[0].transpose(0, *int_list(call.node, "order"))


def _slice(call: Call) -> Floats:
    found = call.node.attributes
    places: list[slice] = [slice(None)] * call.inputs[0].ndim
    places[int_attribute(call.node, "axis")] = slice(found["start"], found["stop"], found["step"])
    return call.inputs[0][tuple(places)]


def _expand(call: Call) -> Floats:
    x = call.inputs[0]
    return np.broadcast_to(x, (x.shape[0], *shape_attribute(call, call.length.size)))


def _pad(call: Call) -> Floats:
    amounts = list(zip(int_list(call.node, "before"), int_list(call.node, "after"), strict=True))
    mode = str(call.node.attributes["mode"])
    if mode == "constant":
        value = np.float32(number_attribute(call.node, "value"))
        return np.pad(call.inputs[0], ((0, 0), *amounts), constant_values=value)
    return np.pad(call.inputs[0], ((0, 0), *amounts), mode=_PAD_MODES[mode])  # type: ignore[call-overload,no-any-return]


def _flip(call: Call) -> Floats:
    return np.flip(call.inputs[0], int_list(call.node, "axes"))


def _constant(call: Call) -> Floats:
    stored = call.weights["value"].reshape(shape_attribute(call, call.length.most))
    now = shape_attribute(call, call.length.size)
    return np.broadcast_to(stored[tuple(slice(size) for size in now)], (call.inputs[0].shape[0], *now))


OPERATIONS: dict[str, Run] = {
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
    "expand": _expand,
    "pad": _pad,
    "flip": _flip,
    "constant": _constant,
}
