"""Operators with a weight matrix [O, K]: `conv2d` and `linear`. Only here may a weight be sparse."""

from gossamer.graph.operators.attributes import int_attribute, int_list, whole
from gossamer.graph.operators.base import Operator, Role, Shape, Site, expect
from gossamer.graph.operators.window import KERNEL, PADDING, image, slide_image

_ROLES = {"weight": Role(kind="matrix"), "bias": Role(kind="vector", required=False)}


def _check_bias(site: Site[Shape], rows: int) -> None:
    bias = site.weights.get("bias", (rows,))
    expect(bias == (rows,), site.node, f"a bias of shape [{rows}]", list(bias))


def _conv2d(site: Site[Shape]) -> Shape:
    node = site.node
    batch, channels, height, width = image(node, site.inputs[0])
    rows, columns = site.weights["weight"]
    groups, kernel = int_attribute(node, "groups"), int_list(node, "kernel")
    divides = channels % groups == 0 and rows % groups == 0
    expect(divides, node, f"groups that divide {channels} inputs and {rows} outputs", groups)
    need = kernel[0] * kernel[1] * (channels // groups)
    expect(columns == need, node, f"a weight of kh·kw·I/groups = {need} columns", columns)
    _check_bias(site, rows)
    return (batch, rows, *slide_image(node, height, width, int_list(node, "dilation")))


def _linear(site: Site[Shape]) -> Shape:
    node, shape = site.node, site.inputs[0]
    rows, columns = site.weights["weight"]
    expect(len(shape) >= 2, node, "an input [..., K] of rank at least 2", list(shape))
    expect(
        shape[-1] == columns,
        node,
        f"an input whose last size is {columns} (columns of the weight)",
        list(shape),
    )
    _check_bias(site, rows)
    return (*shape[:-1], rows)


CONV2D = Operator(
    name="conv2d",
    shape=_conv2d,
    attributes={
        "kernel": KERNEL,
        "stride": KERNEL,
        "padding": PADDING,
        "dilation": KERNEL,
        "groups": whole(1, 2**31 - 1),
    },
    roles=_ROLES,
)
LINEAR = Operator(name="linear", shape=_linear, roles=_ROLES)
