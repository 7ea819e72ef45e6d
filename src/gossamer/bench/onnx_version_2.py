"""Operators of format version 2 in ONNX, as plain operators that the engines' own optimizers know (attention is products and a softmax).

Booleans are the numbers 0 and 1 between nodes, as in the packed network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gossamer.bench.onnx_builder import Builder
from gossamer.graph import Node

Emit = Callable[[Builder, Node], None]


def _simple(op: str, **names: str) -> Emit:
    """An operator of the same meaning; names: ONNX's attribute = ours."""

    def emit(builder: Builder, node: Node) -> None:
        found = builder.attributes(node)
        values = {theirs: float(found[ours]) for theirs, ours in names.items()}
        builder.emit(op, list(node.inputs), node.outputs[0], **values)

    return emit


def _with_numbers(*steps: tuple[str, str]) -> Emit:
    """A chain of (operator, our attribute that is its second operand)."""

    def emit(builder: Builder, node: Node) -> None:
        found, value, output = builder.attributes(node), node.inputs[0], node.outputs[0]
        for index, (op, name) in enumerate(steps):
            number = builder.constant(f"{output}/{name}", np.array(found[name], np.float32))
            last = index == len(steps) - 1
            value = builder.emit(op, [value, number], output if last else f"{output}/{index}")

    return emit


def _rsqrt(builder: Builder, node: Node) -> None:
    output = node.outputs[0]
    builder.emit("Reciprocal", [builder.emit("Sqrt", [node.inputs[0]], f"{output}/sqrt")], output)


def _hardsigmoid(builder: Builder, node: Node) -> None:
    builder.emit("HardSigmoid", list(node.inputs), node.outputs[0], alpha=1 / 6, beta=0.5)


def _softplus(builder: Builder, node: Node) -> None:
    """Without the threshold, above which it differs from x by less than a float32 tells for torch's default of 20."""
    output = node.outputs[0]
    beta = builder.constant(f"{output}/beta", np.array(builder.attributes(node)["beta"], np.float32))
    scaled = builder.emit("Mul", [node.inputs[0], beta], f"{output}/scaled")
    builder.emit("Div", [builder.emit("Softplus", [scaled], f"{output}/softplus"), beta], output)


def _clamp(builder: Builder, node: Node) -> None:
    found, output = builder.attributes(node), node.outputs[0]
    bounds = [
        "" if found[key] is None else builder.constant(f"{output}/{key}", np.array(found[key], np.float32))
        for key in ("low", "high")
    ]
    builder.emit("Clip", [node.inputs[0], *bounds], output)


def _compare(op: str, *, negate: bool = False) -> Emit:
    def emit(builder: Builder, node: Node) -> None:
        output = node.outputs[0]
        truth = builder.emit(op, list(node.inputs), f"{output}/truth")
        if negate:
            truth = builder.emit("Not", [truth], f"{output}/not")
        builder.cast(truth, output, to_bool=False)

    return emit


def _where(builder: Builder, node: Node) -> None:
    output = node.outputs[0]
    condition = builder.cast(node.inputs[0], f"{output}/condition", to_bool=True)
    builder.emit("Where", [condition, *node.inputs[1:]], output)


def _reduce(op: str) -> Emit:
    def emit(builder: Builder, node: Node) -> None:
        found, output = builder.attributes(node), node.outputs[0]
        axes = builder.integers(f"{output}/axes", list(found["axes"]))
        builder.emit(op, [node.inputs[0], axes], output, keepdims=int(found["keep"]))

    return emit


def _argmax(builder: Builder, node: Node) -> None:
    found, output = builder.attributes(node), node.outputs[0]
    whole = builder.emit(
        "ArgMax", [node.inputs[0]], f"{output}/whole", axis=found["axis"], keepdims=int(found["keep"])
    )
    builder.cast(whole, output, to_bool=False)


def _cumsum(builder: Builder, node: Node) -> None:
    output = node.outputs[0]
    axis = builder.integers(f"{output}/axis", builder.attributes(node)["axis"])
    builder.emit("CumSum", [node.inputs[0], axis], output)


def _rms_norm(builder: Builder, node: Node) -> None:
    found, x, output = builder.attributes(node), node.inputs[0], node.outputs[0]
    shape = builder.shapes[x][-found["axes"] :]
    axes = builder.integers(f"{output}/axes", list(range(-found["axes"], 0)))
    square = builder.emit("Mul", [x, x], f"{output}/square")
    mean = builder.emit("ReduceMean", [square, axes], f"{output}/mean", keepdims=1)
    epsilon = builder.constant(f"{output}/epsilon", np.array(found["epsilon"], np.float32))
    root = builder.emit("Sqrt", [builder.emit("Add", [mean, epsilon], f"{output}/shifted")], f"{output}/root")
    if "weight" not in node.weights:
        builder.emit("Div", [x, root], output)
        return
    weight = builder.dense.weights[node.weights["weight"]].reshape(shape)
    normal = builder.emit("Div", [x, root], f"{output}/normal")
    builder.emit("Mul", [normal, builder.constant(f"{output}/weight", weight)], output)


def _group_norm(builder: Builder, node: Node) -> None:
    """Groups as channels of an instance norm, then scale and shift by channel."""
    found, x, output = builder.attributes(node), node.inputs[0], node.outputs[0]
    shape, groups = builder.shapes[x], found["groups"]
    folded = builder.emit(
        "Reshape", [x, builder.integers(f"{output}/folded", [shape[0], groups, -1])], f"{output}/groups"
    )
    one = builder.constant(f"{output}/one", np.ones(groups, np.float32))
    zero = builder.constant(f"{output}/zero", np.zeros(groups, np.float32))
    normal = builder.emit(
        "InstanceNormalization", [folded, one, zero], f"{output}/normal", epsilon=float(found["epsilon"])
    )
    value = builder.emit("Reshape", [normal, builder.integers(f"{output}/shape", shape)], f"{output}/plain")
    by_channel = (-1, *([1] * (len(shape) - 2)))
    for role, op in (("weight", "Mul"), ("bias", "Add")):
        if role in node.weights:
            number = builder.dense.weights[node.weights[role]].reshape(by_channel)
            value = builder.emit(op, [value, builder.constant(f"{output}/{role}", number)], f"{output}/{op}")
    builder.emit("Identity", [value], output)


def _to_shape(op: str) -> Emit:
    def emit(builder: Builder, node: Node) -> None:
        output = node.outputs[0]
        shape = builder.integers(f"{output}/shape", builder.shapes[output])
        builder.emit(op, [node.inputs[0], shape], output)

    return emit


def _permute(builder: Builder, node: Node) -> None:
    order = [0, *builder.attributes(node)["order"]]
    builder.emit("Transpose", list(node.inputs), node.outputs[0], perm=order)


def _sliced(builder: Builder, x: str, output: str, axis: int, start: int, stop: int, step: int) -> None:
    ends = [
        builder.integers(f"{output}/{name}", [value])
        for name, value in (("start", start), ("stop", stop), ("axis", axis), ("step", step))
    ]
    builder.emit("Slice", [x, *ends], output)


def _slice(builder: Builder, node: Node) -> None:
    found, x = builder.attributes(node), node.inputs[0]
    size = builder.shapes[x][found["axis"]]
    start, stop, step = slice(found["start"], found["stop"], found["step"]).indices(size)
    _sliced(builder, x, node.outputs[0], found["axis"], start, stop, step)


def _flip(builder: Builder, node: Node) -> None:
    value, output = node.inputs[0], node.outputs[0]
    axes = list(builder.attributes(node)["axes"])
    for index, axis in enumerate(axes):
        target = output if index == len(axes) - 1 else f"{output}/flip{axis}"
        _sliced(builder, value, target, axis, -1, np.iinfo(np.int64).min, -1)
        value = target


def _pad(builder: Builder, node: Node) -> None:
    found, output = builder.attributes(node), node.outputs[0]
    pads = builder.integers(f"{output}/pads", [0, *found["before"], 0, *found["after"]])
    value = builder.constant(f"{output}/value", np.array(found["value"], np.float32))
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[found["mode"]]
    builder.emit("Pad", [node.inputs[0], pads, value], output, mode=mode)


def _constant(builder: Builder, node: Node) -> None:
    """The value at the largest length, repeated for every example."""
    output = node.outputs[0]
    shape = builder.shapes[output]
    value = builder.dense.weights[node.weights["value"]].astype(np.float32).reshape(1, *shape[1:])
    builder.emit("Identity", [builder.constant(f"{output}/value", np.broadcast_to(value, shape))], output)


def _pixel_shuffle(builder: Builder, node: Node) -> None:
    found, x, output = builder.attributes(node), node.inputs[0], node.outputs[0]
    batch, channels, height, width = builder.shapes[x]
    high, wide = found["factor"]
    planes = channels // (high * wide)
    major = found["order"] == "channel_major"
    split = (
        [batch, planes, high, wide, height, width] if major else [batch, high, wide, planes, height, width]
    )
    parts = builder.emit("Reshape", [x, builder.integers(f"{output}/split", split)], f"{output}/parts")
    order = (0, 1, 4, 2, 5, 3) if major else (0, 3, 4, 1, 5, 2)
    moved = builder.emit("Transpose", [parts], f"{output}/moved", perm=order)
    builder.emit("Reshape", [moved, builder.integers(f"{output}/shape", builder.shapes[output])], output)


def _upsample(builder: Builder, node: Node) -> None:
    found, output = builder.attributes(node), node.outputs[0]
    sizes = builder.integers(f"{output}/sizes", builder.shapes[output])
    if found["mode"] == "nearest":
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    else:
        where = "align_corners" if found["align_corners"] else "half_pixel"
        how = {"mode": "linear", "coordinate_transformation_mode": where}
    builder.emit("Resize", [node.inputs[0], "", "", sizes], output, **how)


def _swapped(builder: Builder, value: str, rank: int, output: str) -> str:
    order = [*range(rank - 2), rank - 1, rank - 2]
    return builder.emit("Transpose", [value], output, perm=order)


def _matmul(builder: Builder, node: Node) -> None:
    a, b = node.inputs
    output = node.outputs[0]
    if builder.attributes(node)["transpose_b"]:
        b = _swapped(builder, b, len(builder.shapes[b]), f"{output}/transposed")
    builder.emit("MatMul", [a, b], output)


def _attention(builder: Builder, node: Node) -> None:
    """softmax(scale q k^T + mask) v."""
    found, output = builder.attributes(node), node.outputs[0]
    q, k, v = node.inputs[:3]
    rank = len(builder.shapes[k])
    rows, columns = builder.shapes[q][-2], builder.shapes[k][-2]
    scale = builder.constant(f"{output}/scale", np.array(found["scale"], np.float32))
    scaled = builder.emit("Mul", [q, scale], f"{output}/scaled")
    keys = _swapped(builder, k, rank, f"{output}/keys")
    scores = builder.emit("MatMul", [scaled, keys], f"{output}/scores")
    low = builder.constant("attention/low", np.array(-1e30, np.float32))
    if found["mask"] == "add":
        scores = builder.emit("Add", [scores, node.inputs[3]], f"{output}/masked")
    elif found["mask"] == "keep":
        keep = builder.cast(node.inputs[3], f"{output}/keep", to_bool=True)
        scores = builder.emit("Where", [keep, scores, low], f"{output}/masked")
    if found["causal"]:
        lower = builder.constant(f"{output}/lower", np.tril(np.ones((rows, columns), bool)))
        scores = builder.emit("Where", [lower, scores, low], f"{output}/causal")
    shares = builder.emit("Softmax", [scores], f"{output}/shares", axis=-1)
    builder.emit("MatMul", [shares, v], output)


def _embedding(builder: Builder, node: Node) -> None:
    table = builder.vector(node, "weight")
    builder.emit("Gather", [table, builder.whole(node.inputs[0])], node.outputs[0], axis=0)


def _recurrent(op: str, gates: tuple[int, ...]) -> Emit:
    """ONNX's LSTM (gates i, o, f, c out of our i, f, g, o) or GRU (z, r, h out of r, z, n, linear before reset)."""

    def emit(builder: Builder, node: Node) -> None:
        weights, output = builder.dense.weights, node.outputs[0]
        batch, steps, inputs = builder.shapes[node.inputs[0]]
        hidden = builder.shapes[output][-1]

        def ordered(matrix: np.ndarray) -> np.ndarray:
            return np.concatenate([matrix.reshape(len(gates), hidden, -1)[gate] for gate in gates])

        count = len(gates) * hidden
        bias = np.zeros((2, count), np.float32)
        if "bias" in node.weights:
            bias[0] = weights[node.weights["bias"]]
        if "hidden_bias" in node.weights:
            bias[1, -hidden:] = weights[node.weights["hidden_bias"]]
        operands = [
            _steps_first(builder, node.inputs[0], f"{output}/steps", batch, steps, inputs),
            builder.constant(f"{output}/W", ordered(weights[node.weights["input"]])[None]),
            builder.constant(f"{output}/R", ordered(weights[node.weights["hidden"]])[None]),
            builder.constant(f"{output}/B", np.concatenate([ordered(part) for part in bias]).reshape(1, -1)),
        ]
        if len(node.inputs) > 1:
            state = builder.integers(f"{output}/state", [1, batch, hidden])
            states = [
                builder.emit("Reshape", [value, state], f"{output}/state{index}")
                for index, value in enumerate(node.inputs[1:])
            ]
            operands += ["", *states]
        extra: dict[str, Any] = {"linear_before_reset": 1} if op == "GRU" else {}
        names = [f"{output}/all", *(f"{value}/last" for value in node.outputs[1:])]
        direction = "reverse" if builder.attributes(node)["reverse"] else "forward"
        builder.emit_many(op, operands, names, hidden_size=hidden, direction=direction, **extra)
        plain = builder.integers(f"{output}/squeezed", [steps, batch, hidden])
        squeezed = builder.emit("Reshape", [names[0], plain], f"{output}/squeeze")
        _batch_first(builder, squeezed, output, batch, steps, hidden)
        flat = builder.integers(f"{output}/flat", [batch, hidden])
        for name, value in zip(names[1:], node.outputs[1:], strict=True):
            builder.emit("Reshape", [name, flat], value)

    return emit


def _steps_first(builder: Builder, x: str, output: str, batch: int, steps: int, width: int) -> str:
    """[N, S, I] -> [S, N, I]; with one example nothing moves."""
    if batch == 1:
        return builder.emit("Reshape", [x, builder.integers(f"{output}/shape", [steps, 1, width])], output)
    return builder.emit("Transpose", [x], output, perm=[1, 0, 2])


def _batch_first(builder: Builder, y: str, output: str, batch: int, steps: int, width: int) -> None:
    if batch == 1:
        builder.emit("Reshape", [y, builder.integers(f"{output}/shape", [1, steps, width])], output)
    else:
        builder.emit("Transpose", [y], output, perm=[1, 0, 2])


EMIT: dict[str, Emit] = {
    **{
        op: _simple(name)
        for op, name in (
            ("tanh", "Tanh"), ("exp", "Exp"), ("log", "Log"), ("sqrt", "Sqrt"), ("abs", "Abs"), ("neg", "Neg"), ("erf", "Erf"),
            ("sin", "Sin"), ("cos", "Cos"), ("floor", "Floor"), ("sign", "Sign"), ("hardswish", "HardSwish"), ("mish", "Mish"),
            ("sub", "Sub"), ("mul", "Mul"), ("div", "Div"), ("maximum", "Max"), ("minimum", "Min"),
        )
    },
    "rsqrt": _rsqrt,
    "hardsigmoid": _hardsigmoid,
    "leaky_relu": _simple("LeakyRelu", alpha="slope"),
    "elu": _simple("Elu", alpha="alpha"),
    "softplus": _softplus,
    "clamp": _clamp,
    "affine": _with_numbers(("Mul", "scale"), ("Add", "shift")),
    "power": _with_numbers(("Pow", "exponent")),
    "equal": _compare("Equal"),
    "not_equal": _compare("Equal", negate=True),
    "less": _compare("Less"),
    "less_equal": _compare("LessOrEqual"),
    "where": _where,
    "mean": _reduce("ReduceMean"),
    "sum": _reduce("ReduceSum"),
    "max": _reduce("ReduceMax"),
    "min": _reduce("ReduceMin"),
    "argmax": _argmax,
    "cumsum": _cumsum,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "reshape": _to_shape("Reshape"),
    "expand": _to_shape("Expand"),
    "permute": _permute,
    "slice": _slice,
    "flip": _flip,
    "pad": _pad,
    "constant": _constant,
    "pixel_shuffle": _pixel_shuffle,
    "upsample": _upsample,
    "matmul": _matmul,
    "attention": _attention,
    "embedding": _embedding,
    "lstm": _recurrent("LSTM", (0, 3, 1, 2)),
    "gru": _recurrent("GRU", (1, 0, 2)),
}  # fmt: skip
