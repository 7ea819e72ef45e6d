"""Makes the packed file of format version 1 that must load for ever: `python tests/data/packed/make.py FOLDER`.

Every format is in it, in float16 and float32, and most operators. The committed files were made once; a later
version of the library must read them, and never makes them anew.
"""

import sys
from pathlib import Path

import numpy as np

from gossamer import formats
from gossamer.formats import packed_file
from gossamer.graph import FreeDim, Input, Manifest, Network, Node, Output
from gossamer.runtime import load

PATTERNS = {
    "stem.weight": ("dense", (8, 9), "float32"),
    "mix.weight": ("block:4x1", (16, 8), "float16"),
    "wide.weight": ("unstructured", (16, 144), "float16"),
    "window.weight": ("window:8", (16, 64), "float16"),
    "vertical.weight": ("gs:8,1", (8, 64), "float32"),
    "horizontal.weight": ("gs:8,8", (8, 64), "float16"),
    "hybrid.weight": ("gs:8,2", (8, 64), "float16"),
    "head.weight": ("2:4", (5, 40), "float32"),
}


def mask(pattern: str, rows: int, columns: int, random: np.random.Generator) -> np.ndarray:
    """A mask that is legal in the pattern, about a quarter kept."""
    if pattern == "dense":
        return np.ones((rows, columns), bool)
    if pattern == "unstructured":
        return random.random((rows, columns)) < 0.25
    if pattern == "block:4x1":
        return np.repeat(random.random((rows // 4, columns)) < 0.4, 4, axis=0)
    if pattern == "2:4":
        return (random.random((rows, columns // 4, 4)).argsort().argsort() < 2).reshape(rows, columns)
    if pattern == "window:8":
        counts = random.integers(0, 4, (rows // 8, columns // 8))[:, :, None, None]
        ranks = random.random((rows // 8, columns // 8, 8, 8)).argsort().argsort()
        return (ranks < counts).swapaxes(1, 2).reshape(rows, columns)
    kept = np.zeros((rows, columns), bool)
    per_row = int(pattern.removeprefix("gs:8,"))
    for group in range(rows * per_row // 8):
        for bundle in range(3):  # each bundle in a stretch of columns of its own: never an entry twice
            lane = np.arange(8)
            column = 16 * bundle + 8 * random.integers(0, 2, 8) + random.permutation(8)
            kept[group * (8 // per_row) + lane // per_row, column] = True
    return kept


def network() -> Network:
    """A small image classifier with two outputs."""
    nodes: list[Node] = []

    def node(op: str, name: str, *inputs: str, roles: tuple[str, ...] = (), **attributes: object) -> str:
        weights = {role: f"{name}.{role}" for role in roles}
        nodes.append(
            Node(
                op=op,
                name=name,
                inputs=inputs,
                outputs=(f"{name}:0",),
                attributes=attributes,
                weights=weights,
            )  # type: ignore[arg-type]
        )
        return f"{name}:0"

    one = {"stride": [1, 1], "dilation": [1, 1], "groups": 1}
    x = node("conv2d", "stem", "image", roles=("weight", "bias"), kernel=[3, 3], padding=[1, 1, 1, 1], **one)
    x = node("relu", "act", x)
    x = node("conv2d", "mix", x, roles=("weight",), kernel=[1, 1], padding=[0, 0, 0, 0], **one)
    x = node("channel_affine", "affine", x, roles=("scale", "shift"))
    x = node("silu", "silu", x)
    x = node(
        "conv2d", "wide", x, roles=("weight", "bias"), kernel=[3, 3], stride=[2, 2], padding=[1, 1, 1, 1],
        dilation=[1, 1], groups=1,
    )  # fmt: skip
    x = node("max_pool2d", "pool", x, kernel=[2, 2], stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1])
    x = node("adaptive_avg_pool2d", "shrink", x, output=[2, 2])
    x = node("flatten", "flat", x, start=1)
    x = node("gelu", "gelu", node("linear", "window", x, roles=("weight", "bias")), approximate="none")
    x = node("concat", "more", x, x, x, x, axis=1)
    down = node("add", "sum", node("linear", "vertical", x, roles=("weight",)),
                node("linear", "horizontal", x, roles=("weight", "bias")))  # fmt: skip
    side = node("sigmoid", "gate", node("linear", "hybrid", x, roles=("weight",)))
    x = node("concat", "both", *(down, side, down, side, side), axis=1)
    x = node("layer_norm", "norm", x, roles=("weight", "bias"), axes=1, epsilon=1e-5)
    x = node("linear", "head", x, roles=("weight", "bias"))
    node("softmax", "probabilities", x, axis=1)
    return Network(
        name="version_1",
        dims={"n": FreeDim(min=1, max=16)},
        inputs=(Input(name="image", shape=("n", 1, 8, 8)),),
        outputs=(
            Output(name="probabilities", value="probabilities:0"),
            Output(name="features", value="both:0"),
        ),
        nodes=tuple(nodes),
    )


def main(folder: Path) -> None:
    """Write version_1.safetensors, version_1_input.npy and the outputs of the NumPy reference."""
    random = np.random.default_rng(20)
    weights: dict[str, formats.PackedMatrix | np.ndarray] = {}
    for name, (pattern, shape, dtype) in PATTERNS.items():
        kind, parameters = ("dense", {}) if pattern == "dense" else formats.for_pattern(pattern)
        values = random.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(shape[1] / 4))
        weights[name] = formats.pack(
            values, mask(pattern, *shape, random), format=kind, dtype=dtype, **parameters
        )
    sizes = {"stem.bias": 8, "affine.scale": 16, "affine.shift": 16, "wide.bias": 16, "window.bias": 16,
             "horizontal.bias": 8, "norm.weight": 40, "norm.bias": 40, "head.bias": 5}  # fmt: skip
    for name, size in sizes.items():
        weights[name] = (random.standard_normal(size) + name.endswith(("scale", "weight"))).astype(np.float32)
    manifest = Manifest(
        network=network(),
        library="gossamer 0.1.0",
        labels=("a", "b", "c", "d", "é"),
        preprocessing={
            "kind": "image",
            "size": [8, 8],
            "channels": 1,
            "scale": 255.0,
            "mean": [0.5],
            "std": [0.25],
        },
        metrics={"accuracy": 0.5},
        license="Apache-2.0",
    )
    packed_file.write(folder / "version_1.safetensors", manifest, weights)
    image = random.standard_normal((3, 1, 8, 8)).astype(np.float32)
    np.save(folder / "version_1_input.npy", image)
    for name, value in load(folder / "version_1.safetensors", engine="reference").run(image).items():
        np.save(folder / f"version_1_{name}.npy", value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
