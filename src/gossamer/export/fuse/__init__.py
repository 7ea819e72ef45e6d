"""Patterns that exporters and people write out (GELU, norms, attention, x sigmoid(x)) become one operator again.

One set of rules for what torch.export captures and for ONNX files.
One pass over the nodes in their order: every rule is asked whether it knows a better form of a node, given the
nodes before it. Inner nodes stay; those that nothing needs any more vanish in `gossamer.export.fold`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gossamer.export.draft import Draft, DraftNode
from gossamer.export.fuse import activations, attention, norms, structure
from gossamer.export.fuse.graph import Graph, Rule

RULES: tuple[Rule, ...] = (*structure.RULES, *activations.RULES, *norms.RULES, *attention.RULES)


def fuse(draft: Draft) -> None:
    """Rewrite the nodes of `draft`."""
    graph = Graph(shapes=draft.shapes, uses=_uses(draft))
    for node in draft.nodes:
        current: DraftNode | None = replace(node, inputs=tuple(graph.names.get(v, v) for v in node.inputs))
        while current is not None:
            node, current = current, _rewritten(current, graph)
        if node.output not in graph.names:
            graph.append(node)
    draft.nodes[:] = graph.nodes
    draft.outputs[:] = [(name, graph.names.get(value, value)) for name, value in draft.outputs]


def _rewritten(node: DraftNode, graph: Graph) -> DraftNode | None:
    if node.output in graph.names:
        return None
    for rule in RULES:
        found = rule(node, graph)
        if found is not None:
            return found
        if node.output in graph.names:
            return None
    return None


def _uses(draft: Draft) -> Counter[str]:
    return Counter(value for node in draft.nodes for value in node.inputs) + Counter(
        v for _, v in draft.outputs
    )
