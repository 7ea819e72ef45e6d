"""Several values, number by number (sizes of 1 are repeated), and `concat`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gossamer.graph.operators.attributes import int_attribute
from gossamer.runtime.reference.base import Call, Floats, Run, float32


def _of_two(function: Callable[[Floats, Floats], Any]) -> Run:
    return lambda call: float32(function(call.inputs[0], call.inputs[1]))


def _where(call: Call) -> Floats:
    condition, yes, no = call.inputs
    return np.where(condition != 0, yes, no)


def _concat(call: Call) -> Floats:
    return np.concatenate(call.inputs, axis=int_attribute(call.node, "axis"))


OPERATIONS: dict[str, Run] = {
    "add": _of_two(np.add),
    "sub": _of_two(np.subtract),
    "mul": _of_two(np.multiply),
    "div": _of_two(np.divide),
    "maximum": _of_two(np.maximum),  # NaN of either side wins
    "minimum": _of_two(np.minimum),
    "equal": _of_two(np.equal),
    "not_equal": _of_two(np.not_equal),
    "less": _of_two(np.less),
    "less_equal": _of_two(np.less_equal),
    "where": _where,
    "concat": _concat,
}
