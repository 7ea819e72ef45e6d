"""Numbers are moved, repeated, left out or padded; `constant` is a stored value."""

from math import prod

from gossamer.graph.fields import MAX_SIZE
from gossamer.graph.operators.attributes import (
    ANY_WHOLE,
    AXIS,
    axes,
    axis_order,
    int_attribute,
    int_list,
    number,
    one_of,
    per_axis,
    sizes,
    whole,
    whole_or_null,
)
from gossamer.graph.operators.base import Operator, Role, Shape, Site, T, expect, expect_axis
from gossamer.graph.strict_json import MAX_INTEGER


def shape_attribute(site: Site[T], length: int) -> Shape:
    """The attribute `shape` with the length symbol at `length`; -1 stays."""
    found = site.node.attributes["shape"]
    assert isinstance(found, list | tuple)
    result: list[int] = []
    for size in found:
        if isinstance(size, str):
            known = site.length.symbol is not None and size == site.length.symbol
            expect(known, site.node, f"the length symbol {site.length.symbol} alone in the shape", size)
            result.append(length)
        else:
            assert isinstance(size, int)
            result.append(size)
    return tuple(result)


def _flatten(site: Site[Shape]) -> Shape:
    shape, start = site.inputs[0], int_attribute(site.node, "start")
    expect(start < len(shape), site.node, f"a start less than the rank {len(shape)}", start)
    return (*shape[:start], prod(shape[start:]))


def _reshape(site: Site[Shape]) -> Shape:
    shape, wanted = site.inputs[0], shape_attribute(site, site.length.size)
    have, known = prod(shape[1:]), prod(size for size in wanted if size != -1)
    fits = have % known == 0 if -1 in wanted else have == known
    expect(fits, site.node, f"a shape of {have} numbers like that of {list(shape)}", list(wanted))
    return (shape[0], *(have // known if size == -1 else size for size in wanted))


def _permute(site: Site[Shape]) -> Shape:
    shape, order = site.inputs[0], int_list(site.node, "order")
    expect(len(order) == len(shape) - 1, site.node, f"an order of {len(shape) - 1} axes", list(order))
    return (shape[0], *(shape[axis] for axis in order))


def slice_places(size: int, start: int, stop: int | None, step: int) -> range:
    """The places of x[start:stop:step] along an axis of `size`."""
    return range(*slice(start, stop, step).indices(size))


def _slice(site: Site[Shape]) -> Shape:
    shape, axis = site.inputs[0], int_attribute(site.node, "axis")
    expect_axis(site, axis)
    stop = site.node.attributes["stop"]
    assert stop is None or isinstance(stop, int)
    start, step = int_attribute(site.node, "start"), int_attribute(site.node, "step")
    count = len(slice_places(shape[axis], start, stop, step))
    expect(count >= 1, site.node, f"at least one element of axis {axis} of {list(shape)}", count)
    return (*shape[:axis], count, *shape[axis + 1 :])


def _expand(site: Site[Shape]) -> Shape:
    shape = site.inputs[0]
    wanted = (shape[0], *shape_attribute(site, site.length.size))
    fits = len(wanted) == len(shape) and all(a in (1, b) for a, b in zip(shape[1:], wanted[1:], strict=True))
    expect(fits, site.node, f"a shape that {list(shape)} can be repeated to", list(wanted))
    return wanted


def _pad(site: Site[Shape]) -> Shape:
    node, shape = site.node, site.inputs[0]
    before, after = int_list(node, "before"), int_list(node, "after")
    counts = (len(before), len(after))
    expect(
        counts == (len(shape) - 1, len(shape) - 1), node, f"before and after of {len(shape) - 1} axes", counts
    )
    fill = node.attributes["value"]
    expect(node.attributes["mode"] == "constant" or fill == 0, node, "the value 0 in this mode", fill)
    if node.attributes["mode"] == "reflect":
        most = [max(a, b) for a, b in zip(before, after, strict=True)]
        fits = all(amount < size for amount, size in zip(most, shape[1:], strict=True))
        expect(fits, node, f"less than the sizes of {list(shape)} to be reflected", most)
    return (shape[0], *(a + size + b for a, size, b in zip(before, shape[1:], after, strict=True)))


def _flip(site: Site[Shape]) -> Shape:
    expect_axis(site, int_list(site.node, "axes")[-1])
    return site.inputs[0]


def _constant(site: Site[Shape]) -> Shape:
    need, found = prod(shape_attribute(site, site.length.most)), site.weights["value"]
    expect(found == (need,), site.node, f"a value of shape [{need}]", list(found))
    return (site.inputs[0][0], *shape_attribute(site, site.length.size))


FLATTEN = Operator(name="flatten", shape=_flatten, attributes={"start": AXIS})
MOVES = (
    Operator(name="reshape", shape=_reshape, attributes={"shape": sizes(rest=True)}, since=2),
    Operator(name="permute", shape=_permute, attributes={"order": axis_order}, since=2),
    Operator(
        name="slice",
        shape=_slice,
        attributes={
            "axis": AXIS,
            "start": ANY_WHOLE,
            "stop": whole_or_null(-MAX_INTEGER, MAX_INTEGER),
            "step": whole(1, MAX_INTEGER),
        },
        since=2,
    ),
    Operator(name="expand", shape=_expand, attributes={"shape": sizes(rest=False)}, since=2),
    Operator(
        name="pad",
        shape=_pad,
        attributes={
            "before": per_axis(0, MAX_SIZE),
            "after": per_axis(0, MAX_SIZE),
            "mode": one_of("constant", "reflect", "replicate"),
            "value": number,
        },
        since=2,
    ),
    Operator(name="flip", shape=_flip, attributes={"axes": axes}, since=2),
    Operator(
        name="constant",
        shape=_constant,
        attributes={"shape": sizes(rest=False)},
        roles={"value": Role(kind="vector", half=True)},
        since=2,
    ),
)
