"""Along axes: reductions, the place of the greatest, running sums."""

from gossamer.graph.operators.attributes import AXIS, axes, boolean, int_attribute, int_list
from gossamer.graph.operators.base import Operator, Shape, Site, expect_axis


def _without(site: Site[Shape], gone: tuple[int, ...]) -> Shape:
    expect_axis(site, gone[-1])
    if site.node.attributes["keep"]:
        return tuple(1 if axis in gone else size for axis, size in enumerate(site.inputs[0]))
    return tuple(size for axis, size in enumerate(site.inputs[0]) if axis not in gone)


def _reduced(site: Site[Shape]) -> Shape:
    return _without(site, int_list(site.node, "axes"))


def _argmax(site: Site[Shape]) -> Shape:
    return _without(site, (int_attribute(site.node, "axis"),))


def _cumsum(site: Site[Shape]) -> Shape:
    expect_axis(site, int_attribute(site.node, "axis"))
    return site.inputs[0]


REDUCTIONS = (
    *(
        Operator(name=name, shape=_reduced, attributes={"axes": axes, "keep": boolean}, since=2)
        for name in ("mean", "sum", "max", "min")
    ),
    Operator(name="argmax", shape=_argmax, attributes={"axis": AXIS, "keep": boolean}, since=2),
    Operator(name="cumsum", shape=_cumsum, attributes={"axis": AXIS}, since=2),
)
