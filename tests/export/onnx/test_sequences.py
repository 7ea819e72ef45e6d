"""Sequences: a free length, whole numbers as inputs, recurrent layers, states; and what exporters write out for attention."""

import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from gossamer import runtime
from gossamer.errors import ExportError
from gossamer.export.onnx import pack_onnx
from tests.export.onnx.files import expected, model, normal, operators, packed, saved

WIDTH = 16


class Encoder(nn.Module):
    """Two BERT-like layers with positions and a padding mask, written out as exporters see them."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50, WIDTH), nn.Embedding(40, WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)

    def forward(self, ids, mask):
        batch, length = ids.shape
        x = self.words(ids) + self.places(torch.arange(length))
        q, k, v = (layer(x).view(batch, length, 4, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) / 2.0 + (1.0 - mask[:, None, None, :].float()) * torch.finfo().min
        y = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(batch, length, WIDTH)
        x = self.norm(x + self.o(y))
        return x + self.down(nn.functional.gelu(self.up(x)))


class Recurrent(nn.Module):
    def __init__(self, kind, both):
        super().__init__()
        self.layer = kind(6, 8, 2, batch_first=True, bidirectional=both)
        self.head = nn.Linear(16 if both else 8, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0])


def exported(net, example, folder, names, axes, *, opset=17):
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            example,
            str(path),
            input_names=names,
            output_names=["y"],
            dynamic_axes=axes,
            dynamo=False,
            opset_version=opset,
        )
    return path


@pytest.mark.parametrize("opset", [13, 17])
def test_encoder(opset, tmp_path):
    """Before opset 17 the layer norm is written out; GELU and attention always are."""
    torch.manual_seed(0)
    free = {0: "batch", 1: "sequence"}
    example = (torch.randint(0, 50, (2, 7)), torch.ones(2, 7, dtype=torch.int64))
    path = exported(Encoder(), example, tmp_path, ["ids", "mask"], {"ids": free, "mask": free}, opset=opset)
    session, report = packed(path, tmp_path)
    assert report.batch == "batch 1 to 64, length 1 to 40"  # as many as the table of positions has
    found = operators(session)
    assert [found.count(op) for op in ("attention", "layer_norm", "gelu", "linear", "erf")] == [1, 1, 1, 6, 0]
    ids = np.random.default_rng(0).integers(0, 50, (3, 11))
    mask = np.ones((3, 11), np.int64)
    mask[1, 5:] = 0
    want = expected(path, {"ids": ids, "mask": mask})["y"]
    np.testing.assert_allclose(session.run({"ids": ids, "mask": mask})["y"], want, atol=2e-5)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent(kind, both, tmp_path):
    torch.manual_seed(0)
    path = exported(
        Recurrent(kind, both), (torch.randn(2, 5, 6),), tmp_path, ["x"], {"x": {0: "batch", 1: "sequence"}}
    )
    session, report = packed(path, tmp_path, max_length=20)
    assert report.batch == "batch 1 to 64, length 1 to 20"
    assert operators(session).count(kind.__name__.lower()) == (4 if both else 2)
    x = normal(3, 9, 6)
    np.testing.assert_allclose(session.run(x)["y"], expected(path, {"x": x})["y"], atol=1e-5)


def cell(op, gates, **attributes):
    size, width = 5, 3
    inputs = {"x": ["sequence", "batch", width], "h": [1, "batch", size]}
    names, outputs = ["x", "w", "r", "b", "", "h"], ["y", "last"]
    if op == "LSTM":
        inputs["c"] = [1, "batch", size]
        names, outputs = [*names, "c"], [*outputs, "cell"]
    constants = {
        "w": normal(1, gates * size, width),
        "r": normal(1, gates * size, size, seed=1),
        "b": normal(1, 2 * gates * size, seed=2),
    }
    nodes = [(op, names, outputs, {"hidden_size": size, **attributes})]
    return model(nodes, inputs, outputs=outputs, constants=constants)


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3)])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_first_states_and_the_batch_in_the_middle(op, gates, direction, tmp_path):
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    path = saved(cell(op, gates, direction=direction, **more), tmp_path)
    session, report = packed(path, tmp_path, max_length=12)
    assert "input x: the batch comes first (in the ONNX file it is dimension 1)" in report.notes
    feeds = {"x": normal(7, 2, 3), "h": normal(1, 2, 5, seed=4)}
    if op == "LSTM":
        feeds["c"] = normal(1, 2, 5, seed=5)
    want = expected(path, feeds)
    found = session.run(
        {name: np.ascontiguousarray(np.moveaxis(array, 1, 0)) for name, array in feeds.items()}
    )
    np.testing.assert_allclose(found["y"], np.moveaxis(want["y"], 2, 0), atol=1e-5)
    np.testing.assert_allclose(found["last"], np.moveaxis(want["last"], 1, 0), atol=1e-5)


def test_states_are_kept(tmp_path):
    """Two runs of three steps are one run of six."""
    path = saved(cell("LSTM", 4), tmp_path)
    target = tmp_path / "packed.safetensors"
    report = pack_onnx(path, target, dtype="float32", max_length=6, states={"h": "last", "c": "cell"})
    session = runtime.load(target, engine=report.verification.engine)
    x = normal(2, 6, 3)
    zeros = np.zeros((2, 1, 5), np.float32)
    whole = session.run({"x": x, "h": zeros, "c": zeros})["y"]
    session.reset()
    parts = [session.run({"x": np.ascontiguousarray(x[:, part])})["y"] for part in (slice(0, 3), slice(3, 6))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)


def test_gru_before_reset_is_refused(tmp_path):
    path = saved(cell("GRU", 3), tmp_path)
    with pytest.raises(ExportError, match="GRU with linear_before_reset=0"):
        pack_onnx(path, tmp_path / "packed.safetensors")


def test_batch_dims_for_a_file_without_names(tmp_path):
    proto = cell("LSTM", 4)
    for value, sizes in zip(proto.graph.input, ([6, 1, 3], [1, 1, 5], [1, 1, 5]), strict=True):
        value.type.CopyFrom(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, sizes))
    path, target = saved(proto, tmp_path), tmp_path / "packed.safetensors"
    with pytest.raises(ExportError, match="batch_dims= says where"):
        pack_onnx(path, target)
    report = pack_onnx(path, target, batch_dims={"x": 1, "h": 1, "c": 1})
    assert report.batch == "batch 1 to 64"


def test_length_that_the_exporter_wrote_down(tmp_path):
    """The error names the way out; with a fixed length the file packs."""
    nodes = [("Reshape", ["x", "shape"], ["a"], {}), ("Relu", ["a"], ["y"], {})]
    proto = model(nodes, {"x": ["batch", "sequence", 4]}, constants={"shape": np.array([-1, 6, 2, 2])})
    path, target = saved(proto, tmp_path), tmp_path / "packed.safetensors"
    with pytest.raises(ExportError, match="fix it with shapes=") as caught:
        pack_onnx(path, target)
    assert "{'x': (1, 128, 4)}" in str(caught.value)
    assert pack_onnx(path, target, shapes={"x": (1, 6, 4)}).batch == "batch 1 to 64"


def test_two_free_lengths_are_refused(tmp_path):
    path = saved(model([("Relu", ["x"], ["y"], {})], {"x": ["batch", "rows", "columns"]}), tmp_path)
    with pytest.raises(ExportError, match="at most one free size beside the batch, got columns, rows"):
        pack_onnx(path, tmp_path / "packed.safetensors")


def test_attention_of_opset_23(tmp_path):
    inputs = {"q": ["batch", 6, 8], "k": ["batch", 5, 8], "v": ["batch", 5, 4]}
    nodes = [("Attention", ["q", "k", "v"], ["y"], {"q_num_heads": 2, "kv_num_heads": 2})]
    path = saved(model(nodes, inputs, opset=23), tmp_path)
    session, report = packed(path, tmp_path)
    assert operators(session).count("attention") == 1
    assert report.verification.worst < 1e-5


def attended(nodes, inputs, feeds, folder, constants):
    """Operators of the packed graph, whose output y is that of ONNX Runtime."""
    path = saved(model(nodes, inputs, constants=constants), folder)
    session, _ = packed(path, folder)
    np.testing.assert_allclose(session.run(feeds)["y"], expected(path, feeds)["y"], atol=1e-5)
    return operators(session)


@pytest.mark.parametrize("batch", [1, 3])
def test_scores_of_a_matrix_and_a_vector_are_no_attention(batch, tmp_path):
    """A column of scores that is read as a row (seq2seq attention): softmax and product, not the operator."""
    nodes = [
        ("Unsqueeze", ["k", "last"], ["column"], {}),
        ("MatMul", ["m", "column"], ["s"], {}),
        ("Squeeze", ["s", "last"], ["row"], {}),
        ("Softmax", ["row"], ["p"], {"axis": 1}),
        ("Unsqueeze", ["p", "one"], ["q"], {}),
        ("MatMul", ["q", "m"], ["y"], {}),
    ]
    feeds = {"m": normal(batch, 11, 8), "k": normal(batch, 8, seed=1)}
    found = attended(
        nodes,
        {"m": ["batch", 11, 8], "k": ["batch", 8]},
        feeds,
        tmp_path,
        {"last": np.array([-1]), "one": np.array([1])},
    )
    assert "attention" not in found
    assert found.count("matmul") == 2


def test_one_query_without_its_dimension_is_attention(tmp_path):
    """Scores [N, 1, S] that are a row [N, S] for mask and softmax."""
    nodes = [
        ("Unsqueeze", ["x", "one"], ["q"], {}),
        ("Transpose", ["k"], ["kt"], {"perm": [0, 2, 1]}),
        ("MatMul", ["q", "kt"], ["s"], {}),
        ("Squeeze", ["s", "one"], ["row"], {}),
        ("Add", ["row", "mask"], ["masked"], {}),
        ("Softmax", ["masked"], ["p"], {"axis": 1}),
        ("Unsqueeze", ["p", "one"], ["r"], {}),
        ("MatMul", ["r", "v"], ["y"], {}),
    ]
    shapes = {"x": (4,), "k": (5, 4), "mask": (5,), "v": (5, 3)}
    feeds = {name: normal(2, *shape, seed=place) for place, (name, shape) in enumerate(shapes.items())}
    inputs = {name: ["batch", *shape] for name, shape in shapes.items()}
    assert "attention" in attended(nodes, inputs, feeds, tmp_path, {"one": np.array([1])})


def test_a_mask_of_scores_seen_in_another_shape_is_not_fused(tmp_path):
    """[N, 2, 1, 5] seen as [N, 1, 2, 5] for the mask: of the operator's shape it would be another mask."""
    nodes = [
        ("Transpose", ["k"], ["kt"], {"perm": [0, 1, 3, 2]}),
        ("MatMul", ["q", "kt"], ["s"], {}),
        ("Reshape", ["s", "turned"], ["t"], {}),
        ("Add", ["t", "mask"], ["masked"], {}),
        ("Reshape", ["masked", "back"], ["b"], {}),
        ("Softmax", ["b"], ["p"], {"axis": -1}),
        ("MatMul", ["p", "k"], ["y"], {}),
    ]
    shapes = {"q": (2, 1, 4), "k": (2, 5, 4), "mask": (1, 2, 5)}
    feeds = {name: normal(2, *shape, seed=place) for place, (name, shape) in enumerate(shapes.items())}
    inputs = {name: ["batch", *shape] for name, shape in shapes.items()}
    constants = {"turned": np.array([-1, 1, 2, 5]), "back": np.array([-1, 2, 1, 5])}
    assert "attention" not in attended(nodes, inputs, feeds, tmp_path, constants)
