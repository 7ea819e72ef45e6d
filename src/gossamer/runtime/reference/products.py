"""Products with weights and of values: `linear`, `conv2d` (through `images.sliding`), `matmul`, `attention`, `embedding`.

>>> x = np.array([[1.0, np.nan]], dtype=np.float32)
>>> w = np.array([[2.0, 0.0], [0.0, 3.0]], dtype=np.float32)
>>> product(x, w, w != 0)  # what was dropped contributes nothing, even against NaN
array([[ 2., nan]], dtype=float32)
"""

import numpy as np

from gossamer.errors import RuntimeFailure
from gossamer.graph.operators.attributes import int_attribute, int_list, number_attribute
from gossamer.runtime.reference.base import Call, Floats, Mask, Run, float32
from gossamer.runtime.reference.images import padded, sliding


def product(x: Floats, weight: Floats, mask: Mask | None) -> Floats:
    """x [M, K] times the transpose of weight [O, K], of whose entries `mask` (None: all) are kept."""
    finite = np.isfinite(x)
    if mask is None or finite.all():
        return float32(x @ weight.T)
    result = np.where(finite, x, np.float32(0)) @ weight.T
    for column in np.flatnonzero(~finite.all(axis=0)):
        odd = np.where(finite[:, column], np.float32(0), x[:, column])
        rows = np.flatnonzero(odd != 0)  # NaN too
        result[rows] += np.where(mask[:, column], odd[rows, None] * weight[:, column], np.float32(0))
    return float32(result)


def _linear(call: Call) -> Floats:
    x = call.inputs[0]
    result = product(x.reshape(-1, x.shape[-1]), call.weights["weight"], call.masks.get("weight"))
    if "bias" in call.weights:
        result = result + call.weights["bias"]
    return result.reshape(*x.shape[:-1], -1)


def _conv2d(call: Call) -> Floats:
    node, weight, mask = call.node, call.weights["weight"], call.masks.get("weight")
    groups = int_attribute(node, "groups")
    windows = sliding(
        padded(call.inputs[0], int_list(node, "padding"), 0.0),
        kernel=int_list(node, "kernel"),
        stride=int_list(node, "stride"),
        dilation=int_list(node, "dilation"),
    )
    batch, channels, height, width = windows.shape[:4]
    inside, rows = channels // groups, len(weight) // groups
    result = np.empty((batch, groups * rows, height, width), dtype=np.float32)
    for group in range(groups):
        # columns ordered (kh, kw, c_in), c_in fastest, like the weight's
        part = windows[:, group * inside : (group + 1) * inside].transpose(0, 2, 3, 4, 5, 1)
        flat = part.reshape(batch * height * width, -1)
        here = slice(group * rows, (group + 1) * rows)
        shaped = product(flat, weight[here], None if mask is None else mask[here])
        shaped = shaped.reshape(batch, height, width, rows).transpose(0, 3, 1, 2)
        result[:, here] = shaped
    if "bias" in call.weights:
        result += call.weights["bias"][:, None, None]
    return result


def _matmul(call: Call) -> Floats:
    a, b = call.inputs
    return float32(a @ (b.swapaxes(-1, -2) if call.node.attributes["transpose_b"] else b))


def _attention(call: Call) -> Floats:
    q, k, v = call.inputs[:3]
    scores = np.float32(number_attribute(call.node, "scale")) * (q @ k.swapaxes(-1, -2))
    left_out = np.float32(-np.inf)
    if call.node.attributes["mask"] == "add":
        scores = scores + call.inputs[3]
    if call.node.attributes["mask"] == "keep":
        scores = np.where(call.inputs[3] != 0, scores, left_out)
    if call.node.attributes["causal"]:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=np.bool_), scores, left_out)
    most = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - np.where(most == left_out, np.float32(0), most))
    sums = powers.sum(axis=-1, keepdims=True)
    shares = powers / np.where(sums == 0, np.float32(1), sums)  # a row without any pair gives 0
    return float32(shares @ v)


def _embedding(call: Call) -> Floats:
    x, table = call.inputs[0], call.weights["weight"]
    good = (x >= 0) & (x < len(table)) & (x == np.floor(x))
    if not good.all():
        raise RuntimeFailure(
            f"node {call.node.name!r} (embedding): expected whole numbers from 0 to {len(table) - 1}, got {x[~good][0]}"
        )
    return table[x.astype(np.int64)]


OPERATIONS: dict[str, Run] = {
    "linear": _linear,
    "conv2d": _conv2d,
    "matmul": _matmul,
    "attention": _attention,
    "embedding": _embedding,
}
