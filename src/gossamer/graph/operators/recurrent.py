"""`lstm` and `gru`: a sequence [N, S, I] goes through one cell with H hidden numbers."""

from gossamer.graph.operators.attributes import boolean
from gossamer.graph.operators.base import Operator, Role, Shape, ShapeRule, Site, expect

_MATRIX, _OPTIONAL = Role(kind="matrix"), Role(kind="vector", required=False)


def _hidden(site: Site[Shape]) -> int:
    return site.weights["hidden"][1]


def _steps(gates: int) -> ShapeRule:
    def rule(site: Site[Shape]) -> Shape:
        node, x, hidden = site.node, site.inputs[0], _hidden(site)
        expect(len(x) == 3, node, "an input [N, S, I]", list(x))
        expected = {
            "input": (gates * hidden, x[2]),
            "hidden": (gates * hidden, hidden),
            "bias": (gates * hidden,),
            "hidden_bias": (hidden,),
        }
        for role, found in site.weights.items():
            expect(found == expected[role], node, f"{role} of shape {list(expected[role])}", list(found))
        count = len(site.inputs)
        expect(node.op != "lstm" or count != 2, node, "both states h and c or none", f"{count} inputs")
        for state in site.inputs[1:]:
            expect(state == (x[0], hidden), node, f"a state of shape {[x[0], hidden]}", list(state))
        return (x[0], x[1], hidden)

    return rule


def _last(site: Site[Shape]) -> Shape:
    return (site.inputs[0][0], _hidden(site))


LSTM = Operator(
    name="lstm",
    shape=_steps(4),
    more=(_last, _last),
    inputs=(1, 3),
    attributes={"reverse": boolean},
    roles={"input": _MATRIX, "hidden": _MATRIX, "bias": _OPTIONAL},
    since=2,
)
GRU = Operator(
    name="gru",
    shape=_steps(3),
    more=(_last,),
    inputs=(1, 2),
    attributes={"reverse": boolean},
    roles={"input": _MATRIX, "hidden": _MATRIX, "bias": _OPTIONAL, "hidden_bias": _OPTIONAL},
    since=2,
)
