"""Makes the packed file of format version 2 that must load for ever: `python tests/data/packed/make_version_2.py FOLDER`.

Tokens with a padding mask, of a free length, and an image; a state; every family of operators. The committed files were made once; a later
version of the library must read them, and never makes them anew.
"""

import sys
from pathlib import Path

import numpy as np

from gossamer import formats
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output, State
from gossamer.runtime import load

WORDS, WIDTH, HEADS, MOST = 20, 16, 2, 6


def network() -> Network:
    """Embedding, attention, a recurrent layer whose state is kept; an image shifts all tokens."""
    nodes: list[Node] = []

    def node(op: str, result: str, *inputs: str, roles: tuple[str, ...] = (), **attributes: object) -> str:
        outputs = tuple(result.split())
        weights = {role: f"{outputs[0]}.{role}" for role in roles}
        nodes.append(
            Node(
                op=op,
                name=f"{op} {outputs[0]}",
                inputs=inputs,
                outputs=outputs,
                attributes=attributes,
                weights=weights,
            )  # type: ignore[arg-type]
        )
        return outputs[0]

    x = node("embedding", "words", "tokens", roles=("weight",))
    x = node("add", "placed", x, node("constant", "places", "tokens", roles=("value",), shape=["s", WIDTH]))
    n = node("rms_norm", "norm", x, roles=("weight",), axes=1, epsilon=1e-6)
    n = node("reshape", "parts", node("linear", "qkv", n, roles=("weight",)), shape=["s", 3, HEADS, -1])
    heads = []
    for index, name in enumerate("qkv"):
        part = node("slice", f"{name}.part", n, axis=2, start=index, stop=index + 1, step=1)
        part = node("reshape", f"{name}.heads", part, shape=["s", HEADS, WIDTH // HEADS])
        heads.append(node("permute", name, part, order=[2, 1, 3]))
    mask = node("reshape", "mask", "keep", shape=[1, 1, -1])
    a = node("attention", "mixed", *heads, mask, scale=0.35, causal=True, mask="keep")
    a = node("reshape", "joined", node("permute", "back", a, order=[2, 1, 3]), shape=["s", WIDTH])
    x = node("add", "residual", x, node("linear", "out", a, roles=("weight",)))

    i = node("group_norm", "grouped", "image", roles=("weight", "bias"), groups=2, epsilon=1e-5)
    i = node("hardswish", "bent", node("pixel_shuffle", "shuffled", i, factor=[2, 1], order="channel_major"))
    i = node("upsample", "resized", i, output=[6, 8], scale=[1.0, 0.5], mode="bilinear", align_corners=False)
    i = node("pad", "padded", i, before=[0, 1, 2], after=[0, 1, 0], mode="reflect", value=0)
    i = node("mean", "pooled", node("flip", "flipped", i, axes=[3]), axes=[2, 3], keep=False)
    i = node("reshape", "shift", node("linear", "described", i, roles=("weight",)), shape=[1, WIDTH])
    x = node("add", "shifted", x, node("tanh", "small", i))

    y = node("lstm", "steps last_h last_c", x, "h", "c", roles=("input", "hidden", "bias"), reverse=False)
    y = node("mul", "gated", y, node("sigmoid", "gate", node("sub", "difference", x, "steps")))
    g = node("gru", "back_steps back_last", y, roles=("input", "hidden", "bias", "hidden_bias"), reverse=True)
    y = node(
        "where",
        "chosen",
        node("less", "smaller", g, y),
        node("affine", "scaled", g, scale=0.5, shift=0.25),
        y,
    )
    node("linear", "scores", y, roles=("weight",))
    return Network(
        name="version_2",
        dims={"n": FreeDim(min=1, max=4), "s": FreeDim(min=1, max=MOST)},
        inputs=(
            Input(name="tokens", shape=("n", "s"), dtype="int64"),
            Input(name="keep", shape=("n", "s"), dtype="int64"),
            Input(name="image", shape=("n", 4, 3, 4)),
            Input(name="h", shape=("n", WIDTH)),
            Input(name="c", shape=("n", WIDTH)),
        ),
        outputs=(
            Output(name="scores", value="scores"),
            Output(name="h_next", value="last_h"),
            Output(name="c_next", value="last_c"),
        ),
        nodes=tuple(nodes),
        states=(State(input="h", output="h_next"), State(input="c", output="c_next")),
    )


MATRICES = {  # name: format, parameters, shape, dtype
    "words.weight": ("dense", {}, (WORDS, WIDTH), "float16"),
    "qkv.weight": ("unstructured", {}, (3 * WIDTH, WIDTH), "float16"),
    "out.weight": ("block", {"rows": 4, "columns": 1}, (WIDTH, WIDTH), "float32"),
    "described.weight": ("dense", {}, (WIDTH, 2), "float32"),
    "steps.input": ("n_of_m", {"n": 2, "m": 4}, (4 * WIDTH, WIDTH), "float16"),
    "steps.hidden": ("unstructured", {}, (4 * WIDTH, WIDTH), "float32"),
    "back_steps.input": ("unstructured", {}, (3 * WIDTH, WIDTH), "float16"),
    "back_steps.hidden": ("block", {"rows": 8, "columns": 1}, (3 * WIDTH, WIDTH), "float16"),
    "scores.weight": ("unstructured", {}, (5, WIDTH), "float32"),
}
VECTORS = {
    "norm.weight": WIDTH,
    "grouped.weight": 4,
    "grouped.bias": 4,
    "steps.bias": 4 * WIDTH,
    "back_steps.bias": 3 * WIDTH,
    "back_steps.hidden_bias": WIDTH,
}


def mask(
    kind: str, parameters: dict[str, int], shape: tuple[int, int], random: np.random.Generator
) -> np.ndarray:
    """A mask that is legal in the format."""
    rows, columns = shape
    if kind == "dense":
        return np.ones(shape, bool)
    if kind == "n_of_m":
        ranks = random.random((rows, columns // parameters["m"], parameters["m"])).argsort().argsort()
        return (ranks < parameters["n"]).reshape(shape)
    height = parameters.get("rows", 1)
    return np.repeat(random.random((rows // height, columns)) < 0.4, height, axis=0)


def main(folder: Path) -> None:
    """Write version_2.safetensors, and version_2.npz: the inputs of two runs and the outputs of the NumPy reference."""
    random = np.random.default_rng(22)
    weights: dict[str, formats.PackedMatrix | np.ndarray] = {}
    for name, (kind, parameters, shape, dtype) in MATRICES.items():
        values = random.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(shape[1] / 2))
        kept = mask(kind, parameters, shape, random)
        weights[name] = formats.pack(values, kept, format=kind, dtype=dtype, **parameters)
    for name, size in VECTORS.items():
        weights[name] = (random.standard_normal(size) * 0.3 + name.endswith("weight")).astype(np.float32)
    places = (random.standard_normal(MOST * WIDTH) * 0.5).astype(np.float32)
    weights["places.value"] = formats.pack(places, None, format="dense", dtype="float16")
    packed_file.write(
        folder / "version_2.safetensors", Manifest(network=network(), library="gossamer 0.1.0"), weights
    )
    session = load(folder / "version_2.safetensors", engine="reference")
    arrays = {}
    for run, length in enumerate((4, MOST), 1):
        inputs = {
            "tokens": random.integers(0, WORDS, (3, length)),
            "keep": (random.random((3, length)) < 0.7).astype(np.int64),
            "image": random.standard_normal((3, 4, 3, 4)).astype(np.float32),
        }
        arrays |= {f"{name}_{run}": value for name, value in (inputs | session.run(inputs)).items()}
    np.savez_compressed(folder / "version_2.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
