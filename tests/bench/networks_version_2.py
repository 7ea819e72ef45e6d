"""One network that uses every operator of format version 2, each with an output of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gossamer.formats.packed_file import write
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output

LENGTH = 5
UNARY = [
    "tanh", "exp", "abs", "neg", "erf", "sin", "cos", "floor", "sign", "hardswish", "hardsigmoid", "mish",
]  # fmt: skip


def everything(path: Path) -> Path:
    """x [batch, 4, 6, 6], tokens int64 [batch, 5], keep int64 [batch, 5]; at the largest length."""
    draw = np.random.default_rng(3).standard_normal
    nodes: list[Node] = []
    outputs: list[str] = []
    weights: dict[str, np.ndarray] = {}

    def add(op, inputs, roles=None, more=(), /, **attributes):
        name = f"{op}{len(nodes)}"
        named = {}
        for role, value in (roles or {}).items():
            named[role] = f"{name}.{role}"
            weights[f"{name}.{role}"] = value.astype(np.float32)
        values = (name, *(f"{name}.{extra}" for extra in more))
        nodes.append(
            Node(op=op, name=name, inputs=tuple(inputs), outputs=values, attributes=attributes, weights=named)
        )
        outputs.extend(values)
        return name

    for op in UNARY:
        add(op, ["x"])
    positive = add("affine", [add("abs", ["x"])], scale=2.0, shift=0.5)
    for op in ("log", "sqrt", "rsqrt"):
        add(op, [positive])
    add("power", [positive], exponent=1.5)
    add("leaky_relu", ["x"], slope=0.1)
    add("elu", ["x"], alpha=0.7)
    add("softplus", ["x"], beta=2.0, threshold=20.0)
    add("clamp", ["x"], low=-0.5, high=None)
    add("clamp", ["x"], low=None, high=0.5)
    column = add("mean", ["x"], axes=[2, 3], keep=True)
    for op in ("add", "sub", "mul", "div", "maximum", "minimum", "less", "less_equal"):
        add(op, ["x", column])
    same = add("floor", ["x"])
    add("equal", [same, add("sign", ["x"])])
    odd = add("not_equal", [same, add("sign", ["x"])])
    add("where", [odd, "x", column])
    for op in ("sum", "max", "min"):
        add(op, ["x"], axes=[1, 3], keep=False)
    add("argmax", ["x"], axis=3, keep=False)
    add("cumsum", ["x"], axis=2)
    add("rms_norm", ["x"], {"weight": draw(36)}, axes=2, epsilon=1e-5)
    add("group_norm", ["x"], {"weight": draw(4), "bias": draw(4)}, groups=2, epsilon=1e-5)
    rows = add("reshape", ["x"], shape=[24, -1])
    add("permute", ["x"], order=[3, 1, 2])
    add("slice", ["x"], axis=2, start=-5, stop=None, step=2)
    add("expand", [column], shape=[4, 3, 2])
    add("pad", ["x"], before=[0, 1, 2], after=[1, 0, 1], mode="constant", value=1.5)
    add("pad", ["x"], before=[0, 1, 2], after=[0, 2, 1], mode="reflect", value=0)
    add("pad", ["x"], before=[0, 1, 2], after=[0, 2, 1], mode="replicate", value=0)
    add("flip", ["x"], axes=[1, 3])
    add("constant", ["x"], {"value": draw(6)}, shape=[2, 3])
    add("pixel_shuffle", ["x"], factor=[2, 2], order="channel_major")
    add("pixel_shuffle", ["x"], factor=[2, 1], order="phase_major")
    add("upsample", ["x"], output=[12, 9], scale=[0.5, 6 / 9], mode="nearest", align_corners=False)
    add("upsample", ["x"], output=[12, 9], scale=[0.5, 6 / 9], mode="bilinear", align_corners=False)
    add("upsample", ["x"], output=[11, 9], scale=[0.5, 5 / 8], mode="bilinear", align_corners=True)
    add("matmul", ["x", "x"], transpose_b=False)
    add("matmul", [rows, rows], transpose_b=True)
    table = add("embedding", ["tokens"], {"weight": draw((11, 8))})
    heads = add("reshape", [table], shape=["s", 2, 4])
    q = add("permute", [heads], order=[2, 1, 3])
    k = add("tanh", [q])
    mask = add("reshape", ["keep"], shape=[1, 1, "s"])
    add("attention", [q, k, q], scale=0.5, causal=False, mask="none")
    add("attention", [q, k, q], scale=0.5, causal=True, mask="none")
    add("attention", [q, k, q, mask], scale=0.5, causal=False, mask="add")
    zero = add("affine", [mask], scale=0.0, shift=1.0)
    add("attention", [q, k, q, zero], scale=0.5, causal=True, mask="keep")
    state = add("slice", [add("reshape", [table], shape=["s", 8])], axis=1, start=0, stop=1, step=1)
    first = add("reshape", [state], shape=[8])
    for reverse in (False, True):
        gates = {"input": draw((24, 8)), "hidden": draw((24, 6)), "bias": draw(24)}
        add("lstm", [table], gates, ("h", "c"), reverse=reverse)
        gates = {"input": draw((24, 8)), "hidden": draw((24, 8)), "bias": draw(24), "hidden_bias": draw(8)}
        add("gru", [table, first], gates, ("h",), reverse=reverse)
    network = Network(
        name="everything",
        dims={"batch": FreeDim(min=1, max=4), "s": FreeDim(min=1, max=LENGTH)},
        inputs=(
            Input(name="x", shape=("batch", 4, 6, 6)),
            Input(name="tokens", shape=("batch", "s"), dtype="int64"),
            Input(name="keep", shape=("batch", "s"), dtype="int64"),
        ),
        outputs=tuple(Output(name=value, value=value) for value in outputs),
        nodes=tuple(nodes),
    )
    write(path, Manifest(library="test", network=network), weights)
    return path
