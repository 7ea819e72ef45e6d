"""Several values become one: `concat`."""

from gossamer.graph.operators.attributes import AXIS, int_attribute
from gossamer.graph.operators.base import Operator, Shape, Site, expect, expect_axis


def _concat(site: Site[Shape]) -> Shape:
    axis, first = int_attribute(site.node, "axis"), site.inputs[0]
    expect_axis(site, axis)
    for shape in site.inputs[1:]:
        fits = (
            len(shape) == len(first)
            and shape[:axis] == first[:axis]
            and shape[axis + 1 :] == first[axis + 1 :]
        )
        expect(fits, site.node, f"shapes equal to {list(first)} but for axis {axis}", list(shape))
    return (*first[:axis], sum(shape[axis] for shape in site.inputs), *first[axis + 1 :])


CONCAT = Operator(name="concat", shape=_concat, inputs=(2, 64), attributes={"axis": AXIS})
