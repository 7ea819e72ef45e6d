"""How much memory the NumPy reference will take, asked before it takes any: a small file may claim huge shapes.

The bound is a sum over what is alive at once: weights unpacked to dense, values that a later node still reads, and what the node itself
works with (windows of a convolution, float64 copies of a norm). It errs to the large side by a small factor.
"""

import os
from collections.abc import Mapping
from math import prod

from gossamer.errors import RuntimeFailure
from gossamer.graph import Network, Node, Shape, WeightLike, infer_shapes
from gossamer.graph.operators.attributes import int_list

FLOAT = 4  # bytes
WORK = {  # operator: floats that it works with an element of its result, where that is more than one
    "gelu": 16,  # float64 copies, and Python's numbers from math.erf
    "layer_norm": 8,
    "sigmoid": 5,
    "silu": 5,
    "softmax": 2,
    "avg_pool2d": 4,
}


def check(network: Network, weights: Mapping[str, WeightLike], *, batch: int, max_bytes: int | None) -> None:
    """RuntimeFailure unless one run with the free dimension at `batch` fits into `max_bytes` (None: this machine's memory)."""
    most = _physical() if max_bytes is None else max_bytes
    held = FLOAT * sum(prod(weight.shape) for weight in weights.values())
    if held > most:
        raise RuntimeFailure(
            f"expected a network within {most} bytes, got {held} for its weights as dense matrices of the NumPy reference; "
            "use engine='native'"
        )
    shapes = infer_shapes(network, weights, dict.fromkeys(network.dims, batch))
    last_use = {value: index for index, node in enumerate(network.nodes) for value in node.inputs}
    outputs = {output.value for output in network.outputs}
    alive = sum(prod(shapes[item.name]) for item in network.inputs)
    for index, node in enumerate(network.nodes):
        alive += prod(shapes[node.outputs[0]])
        need = held + FLOAT * (alive + _work(node, shapes, weights))
        if need > most:
            raise RuntimeFailure(
                f"node {node.name!r} ({node.op}): expected a run within {most} bytes, got {need} for the shape "
                f"{list(shapes[node.outputs[0]])} in the NumPy reference; use a smaller batch or engine='native'"
            )
        alive -= sum(
            prod(shapes[name]) for name in set(node.inputs) if last_use[name] == index and name not in outputs
        )


def _work(node: Node, shapes: Mapping[str, Shape], weights: Mapping[str, WeightLike]) -> int:
    """Floats that a node works with beside its inputs and its output."""
    result = shapes[node.outputs[0]]
    work = WORK.get(node.op, 1) * prod(result)
    if "padding" in node.attributes:
        batch, channels, height, width = shapes[node.inputs[0]]
        top, left, bottom, right = int_list(node, "padding")
        work += batch * channels * (height + top + bottom) * (width + left + right)
    if node.op == "conv2d":
        work += result[0] * result[2] * result[3] * weights[node.weights["weight"]].shape[1]
    return work


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
