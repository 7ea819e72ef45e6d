"""Which captured operations the outputs need: the others are not asked for support."""

import operator
from collections.abc import Iterator

import torch


def needed(graph: torch.fx.Graph) -> set[torch.fx.Node]:
    """Nodes that the outputs need, in-place changes of needed values included."""
    live = {node for node in graph.nodes if node.op == "output"}
    changed = True
    while changed:
        before = len(live)
        for node in reversed(graph.nodes):
            schema = getattr(node.target, "_schema", None)
            touches = (
                schema is not None
                and schema.is_mutable
                and any(owner in live for value in node.all_input_nodes for owner in _owners(value))
            )
            if node in live or touches:
                live.add(node)
                live.update(node.all_input_nodes)
        changed = len(live) > before
    return live


def _owners(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """The value, and those that it is a view of."""
    yield node
    schema = getattr(node.target, "_schema", None)
    is_view = schema is not None and any(result.alias_info is not None for result in schema.returns)
    if (is_view or node.target is operator.getitem) and isinstance(source := node.args[0], torch.fx.Node):
        yield from _owners(source)
