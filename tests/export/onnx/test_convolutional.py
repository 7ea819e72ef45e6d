"""Convolutional networks: packed and run natively, equal to ONNX Runtime."""

import numpy as np
import onnx
import pytest

from gossamer.errors import ExportError
from tests.export.onnx.files import expected, model, normal, operators, packed, saved, sparse_normal

W = sparse_normal(8, 3, 3, 3)
IMAGES = {"x": ["batch", 3, 12, 10]}
SMALL = {"x": ["batch", 4, 8, 8]}


def check(proto, folder, feeds, *, tolerance=1e-5, **options):
    path = saved(proto, folder)
    session, _ = packed(path, folder, **options)
    found = session.run(feeds)
    for name, value in expected(path, feeds).items():
        scale = np.abs(value).max()
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, atol=tolerance * max(scale, 1e-3), rtol=0)
    return operators(session)


CASES = {
    "conv": ([("Conv", ["x", "w", "b"], ["y"], {"pads": [1, 1, 1, 1]})], {"w": W, "b": normal(8)}),
    "conv, strides and dilations": (
        [("Conv", ["x", "w"], ["y"], {"strides": [2, 1], "dilations": [1, 2], "pads": [0, 2, 1, 1]})],
        {"w": W},
    ),
    "conv, same upper": (
        [("Conv", ["x", "w"], ["y"], {"auto_pad": "SAME_UPPER", "strides": [2, 2]})],
        {"w": W},
    ),
    "conv, same lower": (
        [("Conv", ["x", "w"], ["y"], {"auto_pad": "SAME_LOWER", "strides": [2, 2]})],
        {"w": W},
    ),
    "conv, valid": ([("Conv", ["x", "w"], ["y"], {"auto_pad": "VALID"})], {"w": W}),
    "grouped": (
        [("Conv", ["x", "w"], ["h"], {}), ("Conv", ["h", "g"], ["y"], {"group": 4, "pads": [1, 1, 1, 1]})],
        {"w": W, "g": normal(8, 2, 3, 3)},
    ),
    "batch norm": (
        [
            ("Conv", ["x", "w"], ["h"], {}),
            ("BatchNormalization", ["h", "s", "t", "m", "v"], ["k"], {"epsilon": 1e-3}),
            ("Relu", ["k"], ["y"], {}),
        ],
        {
            "w": W,
            "s": normal(8),
            "t": normal(8, seed=1),
            "m": normal(8, seed=2),
            "v": np.abs(normal(8, seed=3)) + 0.5,
        },
    ),
    "scale and shift by constants": (
        [
            ("Conv", ["x", "w"], ["a"], {}),
            ("Mul", ["s", "a"], ["b"], {}),
            ("Sub", ["c", "b"], ["d"], {}),
            ("Div", ["d", "e"], ["y"], {}),
        ],
        {"w": W, "s": normal(8, 1, 1), "c": normal(1, 8, 1, 1), "e": np.array(3.0, np.float32)},
    ),
    "relu6, silu and residual": (
        [
            ("Clip", ["x", "zero", "six"], ["a"], {}),
            ("Sigmoid", ["a"], ["b"], {}),
            ("Mul", ["b", "a"], ["c"], {}),
            ("Add", ["c", "x"], ["y"], {}),
        ],
        {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)},
    ),
    "max pool": (
        [("MaxPool", ["x"], ["y"], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 0]})],
        {},
    ),
    "max pool, ceil": (
        [("MaxPool", ["x"], ["y"], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})],
        {},
    ),
    "average pool": (
        [("AveragePool", ["x"], ["y"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})],
        {},
    ),
    "average pool, padding counts": (
        [
            (
                "AveragePool",
                ["x"],
                ["y"],
                {"kernel_shape": [3, 3], "pads": [1, 0, 0, 1], "count_include_pad": 1},
            )
        ],
        {},
    ),
    "average pool, ceil": (
        [("AveragePool", ["x"], ["y"], {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1})],
        {},
    ),
    "global pools": (
        [("GlobalAveragePool", ["x"], ["a"], {}), ("Flatten", ["a"], ["y"], {})],
        {},
    ),
    "mean over the image": (
        [("ReduceMean", ["x", "axes"], ["y"], {"keepdims": 0})],
        {"axes": np.array([2, 3])},
    ),
    "classifier": (
        [
            ("GlobalAveragePool", ["x"], ["a"], {}),
            ("Reshape", ["a", "shape"], ["b"], {}),
            ("Gemm", ["b", "w", "c"], ["h"], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
            ("MatMul", ["h", "m"], ["k"], {}),
            ("Add", ["k", "v"], ["l"], {}),
            ("Softmax", ["l"], ["y"], {"axis": -1}),
        ],
        {
            "shape": np.array([0, -1]),
            "w": normal(6, 3),
            "c": normal(6),
            "m": sparse_normal(6, 5),
            "v": normal(5),
        },
    ),
    "concatenation": (
        [
            ("Conv", ["x", "w"], ["a"], {"pads": [1, 1, 1, 1]}),
            ("Concat", ["a", "x", "a"], ["y"], {"axis": -3}),
        ],
        {"w": W},
    ),
    "two transpositions cancel": (
        [
            ("Transpose", ["x"], ["a"], {"perm": [0, 2, 3, 1]}),
            ("Relu", ["a"], ["b"], {}),
            ("Mul", ["b", "s"], ["c"], {}),
            ("Transpose", ["c"], ["d"], {"perm": [0, 3, 1, 2]}),
            ("Conv", ["d", "w"], ["y"], {}),
        ],
        {"w": W, "s": normal(3)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equal_to_onnxruntime(name, tmp_path):
    nodes, constants = CASES[name]
    operations = check(model(nodes, IMAGES, constants=constants), tmp_path, {"x": normal(3, 3, 12, 10)})
    assert "permute" not in operations


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
def test_old_opsets(opset, tmp_path):
    """Clip, ReduceMean, Squeeze and Dropout moved attributes to inputs over the years."""
    axes = {"axes": [2, 3]} if opset < 18 else {}
    more = {} if opset < 18 else {"axes": np.array([2, 3])}
    squeeze = {"axes": [2, 3]} if opset < 13 else {}
    nodes = [
        ("Conv", ["x", "w"], ["a"], {}),
        ("Clip", ["a"], ["b"], {"min": 0.0, "max": 6.0})
        if opset < 11
        else ("Clip", ["a", "low", "high"], ["b"], {}),
        ("ReduceMean", ["b", *more], ["c"], {**axes, "keepdims": 1}),
        ("Dropout", ["c"], ["d"], {}),
        ("Squeeze", ["d", *([] if opset < 13 else ["places"])], ["y"], squeeze),
    ]
    constants = {"w": W, **more}
    if opset >= 11:
        constants |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    if opset >= 13:
        constants |= {"places": np.array([2, 3])}
    operations = check(
        model(nodes, IMAGES, constants=constants, opset=opset), tmp_path, {"x": normal(2, 3, 12, 10)}
    )
    assert operations == ["conv2d", "relu6", "adaptive_avg_pool2d", "flatten"]


def test_batch_norm_is_folded(tmp_path):
    nodes, constants = CASES["batch norm"]
    assert check(model(nodes, IMAGES, constants=constants), tmp_path, {"x": normal(1, 3, 12, 10)}) == [
        "conv2d",
        "relu",
    ]


def test_zeros_are_stored_sparse(tmp_path):
    nodes, constants = CASES["conv"]
    path = saved(
        model(nodes, IMAGES, constants={**constants, "w": sparse_normal(8, 3, 3, 3, density=0.05)}), tmp_path
    )
    _, report = packed(path, tmp_path)
    row = report.weights[0]
    assert (row.name, row.shape, row.format) == ("w", (8, 27), "unstructured")
    assert row.num_kept == np.count_nonzero(sparse_normal(8, 3, 3, 3, density=0.05))


@pytest.mark.parametrize("flat", [True, False])
def test_sparse_initializer(flat, tmp_path):
    """Indices may be flat, or one a dimension."""
    w = sparse_normal(5, 6, density=0.3)
    places = np.argwhere(w) if not flat else np.flatnonzero(w)
    values = onnx.numpy_helper.from_array(w[w != 0], "w")
    indices = onnx.numpy_helper.from_array(places.astype(np.int64), "w_indices")
    sparse = onnx.helper.make_sparse_tensor(values, indices, [5, 6])
    nodes = [("Gemm", ["x", "w"], ["y"], {"transB": 1})]
    path = saved(model(nodes, {"x": ["batch", 6]}, sparse=[sparse]), tmp_path)
    session, report = packed(path, tmp_path)
    x = normal(3, 6)
    np.testing.assert_allclose(session.run(x)["y"], x @ w.T, atol=1e-5)
    assert report.weights[0].num_kept == np.count_nonzero(w)


def test_file_with_batch_one_becomes_free(tmp_path):
    nodes, constants = CASES["conv"]
    path = saved(model(nodes, {"x": [1, 3, 12, 10]}, constants=constants), tmp_path)
    session, report = packed(path, tmp_path, max_batch=7)
    assert report.batch == "batch 1 to 7"
    x = normal(2, 3, 12, 10)
    each = [expected(path, {"x": x[i : i + 1]})["y"] for i in range(2)]
    np.testing.assert_allclose(session.run(x)["y"], np.concatenate(each), atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2])
def test_batch_written_into_a_reshape_becomes_free(batch, tmp_path):
    nodes = [("Reshape", ["x", "shape"], ["a"], {}), ("Gemm", ["a", "w"], ["y"], {})]
    constants = {"shape": np.array([batch, 12]), "w": normal(12, 3)}
    path = saved(model(nodes, {"x": [batch, 3, 2, 2]}, constants=constants), tmp_path)
    session, report = packed(path, tmp_path)
    assert report.batch == "batch 1 to 64"
    assert session.run(normal(5, 3, 2, 2))["y"].shape == (5, 3)


def test_constant_for_each_example_fixes_the_batch(tmp_path):
    nodes = [("Add", ["x", "c"], ["a"], {}), ("Gemm", ["a", "w"], ["y"], {})]
    path = saved(model(nodes, {"x": [2, 4]}, constants={"c": normal(2, 4), "w": normal(4, 3)}), tmp_path)
    with pytest.raises(ExportError, match="a constant that differs from example to example"):
        packed(path, tmp_path)


def test_shapes_computed_from_the_input(tmp_path):
    """Shape, Gather, Concat and Reshape are computed while packing."""
    nodes = [
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "zero"], ["n"], {"axis": 0}),
        ("Unsqueeze", ["n", "axis"], ["m"], {}),
        ("Concat", ["m", "rest"], ["t"], {"axis": 0}),
        ("Reshape", ["x", "t"], ["y"], {}),
        ("Relu", ["y"], ["z"], {}),
    ]
    constants = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    path = saved(model(nodes, IMAGES, outputs=("z",), constants=constants), tmp_path)
    session, _ = packed(path, tmp_path)
    assert operators(session) == ["flatten", "relu"]


def test_external_data(tmp_path):
    nodes, constants = CASES["conv"]
    proto = model(nodes, IMAGES, constants=constants)
    path = tmp_path / "model.onnx"
    onnx.save(proto, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    session, _ = packed(path, tmp_path)
    x = normal(1, 3, 12, 10)
    np.testing.assert_allclose(session.run(x)["y"], expected(path, {"x": x})["y"], atol=1e-4)


def test_float16_file(tmp_path):
    proto = model(
        [("Conv", ["x", "w"], ["y"], {})],
        IMAGES,
        constants={"w": W.astype(np.float16)},
        dtypes={"x": onnx.TensorProto.FLOAT16},
    )
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    session, report = packed(saved(proto, tmp_path), tmp_path, dtype="float16")
    assert session.inputs[0].dtype == "float32"
    assert report.verification.worst < 5e-3
