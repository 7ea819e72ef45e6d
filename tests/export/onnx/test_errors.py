"""Wrong files and unsupported networks: every message says what was expected and what to change."""

import numpy as np
import onnx
import pytest

from gossamer.errors import ExportError
from gossamer.export.onnx import pack_onnx
from tests.export.onnx.files import model, normal, saved

RELU = [("Relu", ["x"], ["y"], {})]


def refused(path, folder, **options):
    target = folder / "packed.safetensors"
    with pytest.raises(ExportError) as caught:
        pack_onnx(path, target, **options)
    assert not target.exists()
    return str(caught.value)


def test_no_file(tmp_path):
    assert "expected an ONNX file, got nothing there" in refused(tmp_path / "absent.onnx", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", b"\x89PNG\r\n\x1a\n" * 50])
def test_not_an_onnx_file(content, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert "expected an ONNX file" in refused(path, tmp_path)


def test_truncated(tmp_path):
    path = saved(
        model([("Conv", ["x", "w"], ["y"], {})], {"x": ["n", 3, 8, 8]}, constants={"w": normal(4, 3, 3, 3)}),
        tmp_path,
    )
    path.write_bytes(path.read_bytes()[:200])
    assert "or a part of one" in refused(path, tmp_path)


@pytest.mark.parametrize(
    ("opset", "advice"), [(7, "export it with a newer one"), (99, "export it with an older one")]
)
def test_opset(opset, advice, tmp_path):
    proto = model(RELU, {"x": ["n", 4]})
    proto.opset_import[0].version = opset
    message = refused(saved(proto, tmp_path), tmp_path)
    assert f"got {opset}; {advice}" in message


def test_missing_external_data(tmp_path):
    proto = model([("Gemm", ["x", "w"], ["y"], {})], {"x": ["n", 4]}, constants={"w": normal(4, 4)})
    path = tmp_path / "model.onnx"
    onnx.save(proto, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert f"put that file into {tmp_path.resolve()}" in refused(path, tmp_path)


def test_free_height_and_width(tmp_path):
    path = saved(model(RELU, {"x": ["n", 3, "height", "height"]}), tmp_path)
    message = refused(path, tmp_path)
    assert "expected a fixed height and width" in message
    assert "{'x': (1, 3, 224, 224)}" in message
    report = pack_onnx(path, tmp_path / "y.safetensors", shapes={"x": (1, 3, 8, 8)})
    assert report.batch == "batch 1 to 64"


def test_shapes_that_do_not_fit(tmp_path):
    path = saved(model(RELU, {"x": ["n", 3, "h", "h"]}), tmp_path)
    assert "expected sizes that fit" in refused(path, tmp_path, shapes={"x": (1, 4, 8, 8)})
    assert "expected names of inputs (x), got 'z'" in refused(path, tmp_path, shapes={"z": (1,)})


def test_all_unsupported_nodes_are_listed(tmp_path):
    nodes = [
        ("NonZero", ["x"], ["a"], {}),
        ("Relu", ["x"], ["b"], {}),
        ("Det", ["b"], ["c"], {}),
        ("Cast", ["a"], ["d"], {"to": 1}),
        ("Add", ["d", "c"], ["y"], {}),
    ]
    message = refused(saved(model(nodes, {"x": ["n", 4, 4]}), tmp_path), tmp_path)
    assert "2 nodes that the runtime lacks (opset 20" in message
    assert "NonZero\n    at node 'NonZero_0' -> a\n    nearest supported form: a mask and Where" in message
    assert "Det\n    at node 'Det_2'" in message


def test_other_domain(tmp_path):
    proto = model([("Relu", ["x"], ["a"], {}), ("Relu", ["a"], ["y"], {})], {"x": ["n", 4]})
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "FusedThing", "com.example"
    proto.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    message = refused(saved(proto, tmp_path), tmp_path)
    assert "com.example.FusedThing" in message
    assert "not of the domain com.example" in message


def test_quantized(tmp_path):
    nodes = [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), ("DequantizeLinear", ["q", "s", "z"], ["y"], {})]
    constants = {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    message = refused(saved(model(nodes, {"x": ["n", 4]}, constants=constants), tmp_path), tmp_path)
    assert "the float32 file from before quantization" in message


def test_constant_output(tmp_path):
    nodes = [("Relu", ["x"], ["y"], {}), ("Identity", ["c"], ["z"], {})]
    path = saved(model(nodes, {"x": ["n", 4]}, outputs=("y", "z"), constants={"c": normal(3)}), tmp_path)
    assert "output 'z': expected a value that depends on the input" in refused(path, tmp_path)


def test_softmax_over_the_batch(tmp_path):
    path = saved(model([("Softmax", ["x"], ["y"], {"axis": 0})], {"x": ["n", 4]}), tmp_path)
    assert "an operation along the batch" in refused(path, tmp_path)


def test_tolerance(tmp_path):
    path = saved(
        model([("Gemm", ["x", "w"], ["y"], {})], {"x": ["n", 40]}, constants={"w": normal(40, 40)}), tmp_path
    )
    assert "relative error" in refused(path, tmp_path, tolerance=1e-9)


def test_einsum_is_told_another_way(tmp_path):
    nodes = [("Einsum", ["x", "x"], ["y"], {"equation": "nij,nkj->nik"})]
    message = refused(saved(model(nodes, {"x": ["n", 4, 3]}), tmp_path), tmp_path)
    assert "nearest supported form: the same, written as MatMul and Transpose" in message
