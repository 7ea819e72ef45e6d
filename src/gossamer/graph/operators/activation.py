"""Functions of single numbers, and softmax: the shape stays."""

from gossamer.graph.operators.attributes import AXIS, int_attribute, number, number_or_null, one_of, positive
from gossamer.graph.operators.base import Check, Operator, Shape, Site, expect_axis, same_shape


def _softmax(site: Site[Shape]) -> Shape:
    expect_axis(site, int_attribute(site.node, "axis"))
    return site.inputs[0]


RELU = Operator(name="relu", shape=same_shape)
RELU6 = Operator(name="relu6", shape=same_shape)
SILU = Operator(name="silu", shape=same_shape)
SIGMOID = Operator(name="sigmoid", shape=same_shape)
GELU = Operator(name="gelu", shape=same_shape, attributes={"approximate": one_of("none", "tanh")})
SOFTMAX = Operator(name="softmax", shape=_softmax, attributes={"axis": AXIS})

_PLAIN = (
    "tanh", "exp", "log", "sqrt", "rsqrt", "abs", "neg", "erf", "sin", "cos", "floor", "sign",
    "hardswish", "hardsigmoid", "mish",
)  # fmt: skip
_WITH_NUMBERS: dict[str, dict[str, Check]] = {
    "leaky_relu": {"slope": number},
    "elu": {"alpha": number},
    "softplus": {"beta": positive, "threshold": number},
    "clamp": {"low": number_or_null, "high": number_or_null},
    "affine": {"scale": number, "shift": number},
    "power": {"exponent": number},
}
FUNCTIONS = tuple(
    Operator(name=name, shape=same_shape, attributes=_WITH_NUMBERS.get(name, {}), since=2)
    for name in (*_PLAIN, *_WITH_NUMBERS)
)
