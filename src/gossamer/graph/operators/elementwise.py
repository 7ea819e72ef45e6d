"""Several values, number by number: sizes of 1 are repeated along every dimension behind the batch.

`add` of format version 1 takes equal shapes alone; `graph.versions` tells the two apart.
"""

from gossamer.graph.operators.base import Operator, Shape, Site, expect


def _broadcast(site: Site[Shape]) -> Shape:
    first = site.inputs[0]
    for shape in site.inputs[1:]:
        repeats = (
            len(shape) == len(first)
            and shape[0] == first[0]
            and all(a == b or 1 in (a, b) for a, b in zip(first[1:], shape[1:], strict=True))
        )
        expect(
            repeats,
            site.node,
            f"shapes whose sizes equal those of {list(first)} or are 1, and the same batch",
            list(shape),
        )
        first = (first[0], *(b if a == 1 else a for a, b in zip(first[1:], shape[1:], strict=True)))
    return first


ADD = Operator(name="add", shape=_broadcast, inputs=(2, 2))
COMBINATIONS = (
    *(
        Operator(name=name, shape=_broadcast, inputs=(2, 2), since=2)
        for name in (
            *("sub", "mul", "div", "maximum", "minimum"),
            *("equal", "not_equal", "less", "less_equal"),
        )
    ),
    Operator(name="where", shape=_broadcast, inputs=(3, 3), since=2),
)
