"""One table: every operator in a small random graph, packed, equal to ONNX Runtime."""

import numpy as np
import onnx
import pytest

from tests.export.onnx.files import expected, model, normal, packed, saved

INT, FLOAT = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
TOKENS = {"x": ["batch", 5, 6]}
IMAGES = {"x": ["batch", 4, 6, 8]}


def one(op, *more, **attributes):
    """y = op(x, ...)."""
    return [(op, ["x", *more], ["y"], attributes)]


def scalar(value):
    return np.array(value, np.float32)


TABLE = {
    # elementwise, one input
    **{
        name: (one(name), TOKENS, {})
        for name in (
            *(
                "Relu",
                "Sigmoid",
                "Tanh",
                "Exp",
                "Abs",
                "Erf",
                "Sin",
                "Cos",
                "Floor",
                "Sign",
                "HardSwish",
                "Mish",
                "Neg",
            ),
            *("LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "HardSigmoid", "Gelu"),
        )
    },
    "Celu, alpha": (one("Celu", alpha=0.7), TOKENS, {}),
    "Elu, alpha": (one("Elu", alpha=0.3), TOKENS, {}),
    "LeakyRelu, images": (one("LeakyRelu", alpha=0.2), IMAGES, {}),
    "HardSigmoid, others": (one("HardSigmoid", alpha=0.3, beta=0.4), TOKENS, {}),
    "HardSigmoid, of torch": (one("HardSigmoid", alpha=1 / 6, beta=0.5), TOKENS, {}),
    "Gelu, tanh": (one("Gelu", approximate="tanh"), TOKENS, {}),
    "Log, Sqrt, Reciprocal": (
        [
            *(("Abs", ["x"], ["a"], {}), ("Add", ["a", "one"], ["b"], {}), ("Log", ["b"], ["c"], {})),
            *(
                ("Sqrt", ["b"], ["d"], {}),
                ("Reciprocal", ["b"], ["e"], {}),
                ("Sum", ["c", "d", "e"], ["y"], {}),
            ),
        ],
        TOKENS,
        {"one": scalar(1)},
    ),
    "PRelu, one slope": (one("PRelu", "s"), IMAGES, {"s": np.array([0.3], np.float32)}),
    "PRelu, a slope a channel": (one("PRelu", "s"), IMAGES, {"s": normal(4, 1, 1)}),
    "Clip, one end": (one("Clip", "", "high"), TOKENS, {"high": scalar(0.5)}),
    "Clip, both ends": (one("Clip", "low", "high"), IMAGES, {"low": scalar(-0.2), "high": scalar(0.5)}),
    "Pow": (one("Pow", "c"), TOKENS, {"c": scalar(3)}),
    # elementwise, several inputs
    "Add of a last vector": (one("Add", "c"), TOKENS, {"c": normal(6)}),
    "Sub from a constant": ([("Sub", ["c", "x"], ["y"], {})], TOKENS, {"c": scalar(2.5)}),
    "Mul by a matrix": (one("Mul", "c"), TOKENS, {"c": normal(5, 6)}),
    "Div by a channel": (one("Div", "c"), IMAGES, {"c": normal(4, 1, 1) + 3}),
    "Div of a constant": (
        [("Exp", ["x"], ["a"], {}), ("Div", ["c", "a"], ["y"], {})],
        TOKENS,
        {"c": normal(6)},
    ),
    "Max and Min": (
        [("Neg", ["x"], ["a"], {}), ("Max", ["x", "a", "c"], ["b"], {}), ("Min", ["b", "one"], ["y"], {})],
        TOKENS,
        {"c": normal(5, 1), "one": scalar(1)},
    ),
    "Mean": ([("Neg", ["x"], ["a"], {}), ("Mean", ["x", "a", "c"], ["y"], {})], TOKENS, {"c": normal(6)}),
    "broadcast of two values": (
        [
            ("ReduceMean", ["x", "axes"], ["a"], {"keepdims": 0}),
            ("Unsqueeze", ["a", "axes"], ["b"], {}),
            ("Mul", ["b", "x"], ["y"], {}),
        ],
        TOKENS,
        {"axes": np.array([1])},
    ),
    "Where and comparisons": (
        [
            ("Less", ["x", "zero"], ["a"], {}),
            ("Greater", ["x", "one"], ["b"], {}),
            ("Or", ["a", "b"], ["c"], {}),
            ("Not", ["c"], ["d"], {}),
            ("LessOrEqual", ["x", "half"], ["e"], {}),
            ("And", ["d", "e"], ["f"], {}),
            ("Where", ["f", "x", "low"], ["g"], {}),
            ("Cast", ["a"], ["h"], {"to": FLOAT}),
            ("Add", ["g", "h"], ["y"], {}),
        ],
        TOKENS,
        {"zero": scalar(0), "one": scalar(1), "half": scalar(0.5), "low": scalar(-5)},
    ),
    "Cast cuts off": (
        [
            ("Mul", ["x", "c"], ["a"], {}),
            ("Cast", ["a"], ["b"], {"to": INT}),
            ("Cast", ["b"], ["y"], {"to": FLOAT}),
        ],
        TOKENS,
        {"c": scalar(3)},
    ),
    # convolutions and resizing
    **{
        f"ConvTranspose, kernel {k}, stride {s}, pads {p}, extra {e}, groups {g}": (
            one(
                "ConvTranspose",
                "w",
                "b",
                kernel_shape=[k, k],
                strides=[s, s],
                pads=[p] * 4,
                output_padding=[e, e],
                group=g,
            ),
            IMAGES,
            {"w": normal(4, 3, k, k), "b": normal(3 * g)},
        )
        for k, s, p, e, g in [
            (2, 2, 0, 0, 1),
            (3, 2, 1, 1, 1),
            (4, 2, 1, 0, 2),
            (3, 1, 1, 0, 1),
            (5, 3, 1, 1, 1),
        ]
    },
    "Conv of sequences": (
        one("Conv", "w", "b", pads=[2, 1], strides=[2], dilations=[2]),
        TOKENS,
        {"w": normal(7, 5, 3), "b": normal(7)},
    ),
    "pools of sequences": (
        [("MaxPool", ["x"], ["a"], {"kernel_shape": [2]}), ("GlobalAveragePool", ["a"], ["y"], {})],
        TOKENS,
        {},
    ),
    "GlobalMaxPool": (one("GlobalMaxPool"), IMAGES, {}),
    "Resize, nearest": (
        one(
            "Resize",
            "",
            "s",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        IMAGES,
        {"s": np.array([1, 1, 2, 3], np.float32)},
    ),
    "Resize, linear": (
        one("Resize", "", "", "s", axes=[2, 3], mode="linear", coordinate_transformation_mode="half_pixel"),
        IMAGES,
        {"s": np.array([9, 5])},
    ),
    "Resize, corners": (
        one("Resize", "", "s", mode="linear", coordinate_transformation_mode="align_corners"),
        IMAGES,
        {"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "DepthToSpace, DCR": (one("DepthToSpace", blocksize=2), IMAGES, {}),
    "DepthToSpace, CRD": (one("DepthToSpace", blocksize=2, mode="CRD"), IMAGES, {}),
    "SpaceToDepth": (one("SpaceToDepth", blocksize=2), IMAGES, {}),
    **{
        f"Pad, {mode}": (one("Pad", "p", mode=mode), IMAGES, {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0])})
        for mode in ("constant", "reflect", "edge")
    },
    "Pad, with a value": (
        one("Pad", "p", "v"),
        TOKENS,
        {"p": np.array([0, 1, 0, 0, 2, 0]), "v": scalar(1.5)},
    ),
    # along axes
    **{
        name: (one(name, "a", keepdims=keep), TOKENS, {"a": np.array([-1])})
        for keep, name in enumerate(
            [
                "ReduceMean",
                "ReduceSum",
                "ReduceMax",
                "ReduceMin",
                "ReduceL1",
                "ReduceL2",
                "ReduceSumSquare",
                "ReduceLogSumExp",
            ]
        )
        for keep in [keep % 2]
    },
    "ReduceMean of rows and columns": (one("ReduceMean", "a", keepdims=1), TOKENS, {"a": np.array([1, 2])}),
    "ArgMax": (
        [("ArgMax", ["x"], ["a"], {"axis": 2, "keepdims": 0}), ("Cast", ["a"], ["y"], {"to": FLOAT})],
        TOKENS,
        {},
    ),
    "CumSum": (one("CumSum", "a"), TOKENS, {"a": np.array(1)}),
    "Softmax, middle": (one("Softmax", axis=1), TOKENS, {}),
    "LogSoftmax": (one("LogSoftmax", axis=-1), TOKENS, {}),
    "LayerNormalization": (
        one("LayerNormalization", "s", "b", axis=-1),
        TOKENS,
        {"s": normal(6), "b": normal(6)},
    ),
    "LayerNormalization, two axes": (one("LayerNormalization", "s", axis=1), TOKENS, {"s": normal(5, 6)}),
    "GroupNormalization": (
        one("GroupNormalization", "s", "b", num_groups=2),
        IMAGES,
        {"s": normal(2), "b": normal(2)},
    ),
    "InstanceNormalization": (
        one("InstanceNormalization", "s", "b"),
        IMAGES,
        {"s": normal(4), "b": normal(4)},
    ),
    "LpNormalization": (one("LpNormalization", axis=-1), TOKENS, {}),
    "LRN": (one("LRN", size=3, alpha=0.1, beta=0.6, bias=1.5), IMAGES, {}),
    # shapes
    "Reshape": (one("Reshape", "s"), TOKENS, {"s": np.array([0, 3, -1])}),
    "Flatten": (one("Flatten", axis=1), TOKENS, {}),
    "Transpose": (one("Transpose", perm=[0, 2, 1]), TOKENS, {}),
    "Transpose of the batch and back": (
        [
            ("Transpose", ["x"], ["a"], {"perm": [1, 0, 2]}),
            ("MatMul", ["a", "w"], ["b"], {}),
            ("Transpose", ["b"], ["y"], {"perm": [1, 0, 2]}),
        ],
        TOKENS,
        {"w": normal(6, 3)},
    ),
    "Squeeze and Unsqueeze": (
        [("Unsqueeze", ["x", "a"], ["b"], {}), ("Squeeze", ["b", "c"], ["y"], {})],
        TOKENS,
        {"a": np.array([1, 3]), "c": np.array([3])},
    ),
    "Split": (
        [("Split", ["x"], ["a", "b"], {"axis": 2, "num_outputs": 2}), ("Mul", ["a", "b"], ["y"], {})],
        TOKENS,
        {},
    ),
    "Split, sizes": (
        [("Split", ["x", "s"], ["a", "b", "c"], {"axis": 1}), ("Concat", ["c", "a"], ["y"], {"axis": 1})],
        TOKENS,
        {"s": np.array([2, 1, 2])},
    ),
    "Slice": (
        one("Slice", "s", "e", "a", "t"),
        TOKENS,
        {"s": np.array([1, -5]), "e": np.array([4, 2**31]), "a": np.array([1, 2]), "t": np.array([1, 2])},
    ),
    "Slice, backwards": (
        one("Slice", "s", "e", "a", "t"),
        TOKENS,
        {"s": np.array([-1]), "e": np.array([-(2**31)]), "a": np.array([1]), "t": np.array([-1])},
    ),
    "Gather, one": (one("Gather", "i", axis=1), TOKENS, {"i": np.array(-2)}),
    "Gather, several": (one("Gather", "i", axis=2), TOKENS, {"i": np.array([4, 5, 0, 1])}),
    "Gather, many": (one("Gather", "i", axis=1), TOKENS, {"i": np.arange(40) * 3 % 5}),
    "Expand": (
        [("Unsqueeze", ["x", "a"], ["b"], {}), ("Expand", ["b", "s"], ["y"], {})],
        TOKENS,
        {"a": np.array([2]), "s": np.array([1, 1, 3, 1])},
    ),
    "Tile": (one("Tile", "r"), TOKENS, {"r": np.array([1, 2, 3])}),
    "Concat with a constant": (
        [("Concat", ["c", "x"], ["y"], {"axis": 1})],
        {"x": [1, 5, 6]},
        {"c": normal(1, 2, 6)},
    ),
    # products
    "Gemm, not transposed": (
        one("Gemm", "w", "b"),
        {"x": ["batch", 6]},
        {"w": normal(6, 4), "b": normal(1, 4)},
    ),
    "MatMul of a vector": (one("MatMul", "w"), TOKENS, {"w": normal(6)}),
    "MatMul from the left": ([("MatMul", ["w", "x"], ["y"], {})], TOKENS, {"w": normal(3, 5)}),
    "MatMul with a constant of three dimensions": (
        one("MatMul", "w"),
        {"x": ["batch", 3, 5, 6]},
        {"w": normal(3, 6, 2)},
    ),
    "MatMul of two values": (
        [("Transpose", ["x"], ["a"], {"perm": [0, 2, 1]}), ("MatMul", ["x", "a"], ["y"], {})],
        TOKENS,
        {},
    ),
    "MatMul with heads in the batch": (
        [
            ("Reshape", ["x", "s"], ["a"], {}),
            ("Transpose", ["a"], ["b"], {"perm": [0, 2, 1, 3]}),
            ("Reshape", ["b", "t"], ["c"], {}),
            ("Transpose", ["c"], ["d"], {"perm": [0, 2, 1]}),
            ("MatMul", ["c", "d"], ["e"], {}),
            ("Softmax", ["e"], ["f"], {"axis": -1}),
            ("MatMul", ["f", "c"], ["g"], {}),
            ("Reshape", ["g", "u"], ["h"], {}),
            ("Transpose", ["h"], ["i"], {"perm": [0, 2, 1, 3]}),
            ("Reshape", ["i", "v"], ["y"], {}),
        ],
        TOKENS,
        {
            "s": np.array([0, 0, 3, 2]),
            "t": np.array([-1, 5, 2]),
            "u": np.array([-1, 3, 5, 2]),
            "v": np.array([0, 0, -1]),
        },
    ),
    "Dropout": ([("Dropout", ["x"], ["a"], {}), ("Relu", ["a"], ["y"], {})], TOKENS, {}),
}


@pytest.mark.parametrize("name", TABLE)
def test_operator(name, tmp_path):
    nodes, inputs, constants = TABLE[name]
    path = saved(model(nodes, inputs, constants=constants), tmp_path)
    session, _ = packed(path, tmp_path)
    sizes = [3 if isinstance(size, str) else size for size in inputs["x"]]
    x = normal(*sizes)
    want = expected(path, {"x": x})["y"]
    found = session.run(x)["y"]
    assert found.shape == want.shape
    scale = np.abs(want[np.isfinite(want)]).max(initial=1e-3)
    np.testing.assert_allclose(found, np.clip(want, -3.4028235e38, None), atol=2e-5 * scale, rtol=1e-5)
