"""ONNX files for the tests: graphs from lists of nodes, run by ONNX Runtime and by the packed network."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from gossamer import runtime
from gossamer.export.onnx import pack_onnx


def model(nodes, inputs, outputs=("y",), constants=None, *, opset=20, sparse=(), dtypes=None):
    """A model; nodes: (op, inputs, outputs, attributes); inputs: name -> sizes; outputs: names."""
    types = {name: (dtypes or {}).get(name, TensorProto.FLOAT) for name in inputs}
    graph = helper.make_graph(
        [
            helper.make_node(op, list(ins), list(outs), name=f"{op}_{place}", **attributes)
            for place, (op, ins, outs, attributes) in enumerate(nodes)
        ],
        "test",
        [helper.make_tensor_value_info(name, types[name], sizes) for name, sizes in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
        sparse_initializer=list(sparse),
    )
    for value in graph.output:
        value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10
    )


def saved(proto, folder, name="model.onnx"):
    """Its path."""
    path = folder / name
    onnx.save(proto, str(path))
    return path


def expected(path, feeds):
    """ONNX Runtime's outputs by name."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def packed(path, folder, **options):
    """The file's session, report, and operators."""
    target = folder / "packed.safetensors"
    report = pack_onnx(path, target, **{"dtype": "float32", **options})
    session = runtime.load(target, engine=report.verification.engine)
    return session, report


def operators(session):
    """Operators of the packed network, in order."""
    return [node["op"] for node in session.manifest["network"]["nodes"]]


def normal(*shape, seed=0):
    """float32 [*shape]."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def sparse_normal(*shape, density=0.2, seed=0):
    """The same, most of it zero."""
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(shape) * (generator.random(shape) < density)).astype(np.float32)
