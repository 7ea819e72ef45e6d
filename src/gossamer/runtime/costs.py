"""What each layer of a network costs: multiply-accumulates of one example at the greatest length, kept and stored weights, bytes."""

from collections.abc import Mapping
from math import prod
from typing import Any, TypeAlias

from gossamer.formats import PackedMatrix
from gossamer.graph import Network, Node, Shape, infer_shapes

# keys: name, op, kernel, reason, macs, macs_dense, num_kept, num_weights, bytes, seconds
Row: TypeAlias = dict[str, Any]


def reference_rows(network: Network, weights: Mapping[str, PackedMatrix]) -> list[Row]:
    """The rows of `Session.layers()` where the NumPy reference runs: same keys as the native ones."""
    length = network.length
    sizes = {symbol: dim.max if symbol == length else dim.min for symbol, dim in network.dims.items()}
    shapes = infer_shapes(network, weights, sizes)
    return [_row(node, shapes, weights) for node in network.nodes]


def _row(node: Node, shapes: Mapping[str, Shape], weights: Mapping[str, PackedMatrix]) -> Row:
    stored = [weights[name] for name in node.weights.values()]
    matrices = [weight for weight in stored if len(weight.shape) == 2]
    kept = sum(matrix.num_kept for matrix in matrices)
    total = sum(prod(matrix.shape) for matrix in matrices)
    uses = 0  # how often one example uses each weight of the matrices
    if node.op in ("conv2d", "linear"):
        uses = prod(shapes[node.outputs[0]][1:]) // matrices[0].shape[0]
    elif node.op in ("lstm", "gru"):
        uses = shapes[node.outputs[0]][1]
    return {
        "name": node.name,
        "op": node.op,
        "kernel": "numpy",
        "reason": "NumPy reference executor",
        "macs": uses * kept,
        "macs_dense": uses * total,
        "num_kept": kept,
        "num_weights": total,
        "bytes": sum(4 * prod(weight.shape) for weight in stored),
        "seconds": 0.0,
    }
