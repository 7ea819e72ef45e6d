"""How much memory the NumPy reference will take, asked before it takes any: a small file may claim huge shapes.

The bound is a sum over what is alive at once: weights unpacked to dense, values that a later node still reads, and what the node itself
works with (windows of a convolution, float64 copies of a norm). It errs to the large side by a small factor.
"""

import os
from collections.abc import Mapping
from math import prod

from gossamer.errors import GraphError, RuntimeFailure
from gossamer.graph import Network, Node, Shape, WeightLike, infer_shapes
from gossamer.graph.operators.attributes import int_list

FLOAT = 4  # bytes
MASK = 1  # of a weight that is not dense
WORK = {  # operator: floats that it works with an element of its first result, where that is more than one
    "gelu": 16,  # float64 copies, and Python's numbers from math.erf
    "erf": 16,
    "layer_norm": 8,
    "rms_norm": 8,
    "group_norm": 8,
    "cumsum": 3,
    "sigmoid": 5,
    "silu": 5,
    "mish": 5,
    "softplus": 5,
    "softmax": 2,
    "avg_pool2d": 4,
    "upsample": 6,
    "lstm": 16,  # the input's part of all gates, and what a step works with
    "gru": 16,
}


def check(
    network: Network,
    weights: Mapping[str, WeightLike],
    *,
    batch: int,
    length: int = 0,
    max_bytes: int | None,
) -> None:
    """RuntimeFailure unless one run of that batch and length fits into `max_bytes` (None: this machine's memory) and breaks no rule."""
    most = _physical() if max_bytes is None else max_bytes
    held = sum((FLOAT + MASK) * prod(weight.shape) for weight in weights.values())
    if held > most:
        raise RuntimeFailure(
            f"expected a network within {most} bytes, got {held} for its weights as dense matrices of the NumPy reference; "
            "use engine='native'"
        )
    shapes = run_shapes(network, weights, batch=batch, length=length)
    last_use = {value: index for index, node in enumerate(network.nodes) for value in node.inputs}
    outputs = {output.value for output in network.outputs}
    alive = sum(prod(shapes[item.name]) for item in network.inputs)
    for index, node in enumerate(network.nodes):
        alive += sum(prod(shapes[name]) for name in node.outputs)
        need = held + FLOAT * (alive + _work(node, shapes, weights))
        if need > most:
            raise RuntimeFailure(
                f"node {node.name!r} ({node.op}): expected a run within {most} bytes, got {need} for the shape "
                f"{list(shapes[node.outputs[0]])} in the NumPy reference; use a smaller batch or engine='native'"
            )
        alive -= sum(
            prod(shapes[name])
            for name in {*node.inputs, *node.outputs}
            if last_use.get(name, index) == index and name not in outputs
        )


def run_shapes(
    network: Network, weights: Mapping[str, WeightLike], *, batch: int, length: int
) -> Mapping[str, Shape]:
    """Shapes of one run; RuntimeFailure where the length breaks a rule or makes a size larger than the greatest length does."""
    try:
        shapes = infer_shapes(network, weights, network.sizes(batch=batch, length=length))
    except GraphError as error:
        raise RuntimeFailure(f"length {length}: {error}") from error
    symbol = network.length
    if symbol is not None and length < network.dims[symbol].max:
        longest = infer_shapes(network, weights, network.sizes(batch=batch, length=network.dims[symbol].max))
        for name, shape in shapes.items():
            if any(size > largest for size, largest in zip(shape, longest[name], strict=True)):
                raise RuntimeFailure(
                    f"{symbol} = {length}: expected sizes of {name!r} up to {list(longest[name])}, those of "
                    f"{symbol} = {network.dims[symbol].max}, got {list(shape)}"
                )
    return shapes


def _work(node: Node, shapes: Mapping[str, Shape], weights: Mapping[str, WeightLike]) -> int:
    """Floats that a node works with beside its inputs and its output."""
    result = shapes[node.outputs[0]]
    work = WORK.get(node.op, 1) * prod(result)
    if "padding" in node.attributes:
        batch, channels, height, width = shapes[node.inputs[0]]
        top, left, bottom, right = int_list(node, "padding")
        work += batch * channels * (height + top + bottom) * (width + left + right)
    if node.op in ("mean", "sum"):
        work += 2 * prod(shapes[node.inputs[0]])
    if node.op == "attention":
        work += 4 * prod(result[:-1]) * shapes[node.inputs[1]][-2]
    if node.op == "conv2d":
        work += result[0] * result[2] * result[3] * weights[node.weights["weight"]].shape[1]
    return work


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
