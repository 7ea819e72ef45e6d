"""Which version of the packed file a network needs: what version 2 added, by name (docs/formats/packed-file.md, section 6)."""

from collections.abc import Iterator, Mapping

from gossamer.graph.fields import show
from gossamer.graph.network import Network
from gossamer.graph.operators import OPERATORS, Shape


def beyond_version_1(network: Network, shapes: Mapping[str, Shape]) -> Iterator[str]:
    """What of the network a file of version 1 cannot hold."""
    if network.length is not None:
        yield f"the length symbol {show(network.length)}"
    if network.states:
        yield f"the state {show(network.states[0].input)}"
    for item in network.inputs:
        if item.dtype != "float32":
            yield f"the input {show(item.name)} of dtype {item.dtype}"
    for node in network.nodes:
        if OPERATORS[node.op].since > 1:
            yield f"the node {show(node.name)} ({node.op})"
        elif node.op == "add" and len({shapes[name] for name in node.inputs}) > 1:
            yield f"the node {show(node.name)} (add) of different shapes"
