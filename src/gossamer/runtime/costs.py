"""What each layer of a network costs: multiply-accumulates of one example, kept and stored weights, bytes."""

from collections.abc import Mapping
from math import prod
from typing import Any, TypeAlias

from gossamer.formats import PackedMatrix
from gossamer.graph import Network, Node, Shape, infer_shapes

# keys: name, op, kernel, reason, macs, macs_dense, num_kept, num_weights, bytes, seconds
Row: TypeAlias = dict[str, Any]


def reference_rows(network: Network, weights: Mapping[str, PackedMatrix]) -> list[Row]:
    """The rows of `Session.layers()` where the NumPy reference runs: same keys as the native ones."""
    shapes = infer_shapes(network, weights, {symbol: dim.min for symbol, dim in network.dims.items()})
    return [_row(node, shapes, weights) for node in network.nodes]


def _row(node: Node, shapes: Mapping[str, Shape], weights: Mapping[str, PackedMatrix]) -> Row:
    stored = [weights[name] for name in node.weights.values()]
    matrix = weights.get(node.weights.get("weight", ""))
    uses = 0  # how often one example uses each weight of the matrix
    if matrix is not None and node.op in ("conv2d", "linear"):
        uses = prod(shapes[node.outputs[0]][1:]) // matrix.shape[0]
    kept = matrix.num_kept if matrix is not None else 0
    total = prod(matrix.shape) if matrix is not None else 0
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
