"""Read an ONNX file into plain data: nodes with Python attributes, initializers as arrays, inputs, outputs.

Sparse initializers become dense arrays whose absent entries are zero; zeros count as absent when weights are
packed. Functions of the model are inlined. External data are read from beside the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.errors import ExportError, MissingExtraError

OLDEST_OPSET = 9
DOMAINS = ("", "ai.onnx")
_MICROSOFT = "com.microsoft"


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """One node. attributes: numbers, strings (decoded), lists of them, arrays; an absent input is ""."""

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: Any

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, `default` where the node has none."""
        return self.attributes.get(name, default)


@dataclass(frozen=True, kw_only=True)
class OnnxValue:
    """An input or output. shape: sizes, names of free ones, "" for unknown ones; None: unknown rank."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """The graph of a file. sparse: names of initializers that the file stores sparse."""

    path: Path
    name: str
    opset: int
    producer: str
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, np.ndarray]
    sparse: frozenset[str]
    inputs: tuple[OnnxValue, ...]
    outputs: tuple[OnnxValue, ...]
    proto: Any


def read(path: str | Path) -> OnnxModel:
    """The model of a file; ExportError says what is wrong with it."""
    onnx = _library()
    path = Path(path)
    proto = _load(onnx, path)
    opset = _opset(onnx, path, proto)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    graph = proto.graph
    constants = {item.name: _array(onnx, item, path) for item in graph.initializer}
    sparse = {item.values.name: _dense(onnx, item, path) for item in graph.sparse_initializer}
    inputs = [
        _value(onnx, item) for item in graph.input if item.name not in constants and item.name not in sparse
    ]
    return OnnxModel(
        path=path,
        name=graph.name or path.stem,
        opset=opset,
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        nodes=tuple(_node(onnx, item, index, path) for index, item in enumerate(graph.node)),
        constants={**constants, **sparse},
        sparse=frozenset(sparse),
        inputs=tuple(inputs),
        outputs=tuple(_value(onnx, item) for item in graph.output),
        proto=proto,
    )


def nodes_of(graph: Any) -> tuple[OnnxNode, ...]:
    """Nodes of a branch of `If`."""
    return tuple(_node(_library(), item, index, Path()) for index, item in enumerate(graph.node))


def _library() -> Any:
    try:
        import onnx
        import onnx.inliner
        import onnx.reference
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "reading ONNX files needs onnx, which is not installed. Install it with: pip install 'gossamer[bench]'"
        ) from error
    return onnx


def _load(onnx: Any, path: Path) -> Any:
    if not path.is_file():
        raise ExportError(
            f"{path}: expected an ONNX file, got {'a folder' if path.is_dir() else 'nothing there'}"
        )
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own class of error differs between its versions
        raise ExportError(
            f"{path}: expected an ONNX file, got {path.stat().st_size:,} bytes that are none, or a part of one "
            f"({_first_line(error)}); download or export it again"
        ) from error
    if not proto.graph.node or not proto.opset_import:
        raise ExportError(
            f"{path}: expected an ONNX file with a graph, got {path.stat().st_size:,} bytes without one; export it again"
        )
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:
        raise ExportError(
            f"{path}: its weights lie in a file of their own, which cannot be read ({_first_line(error)}); put that file "
            f"into {path.resolve().parent} under the name that the model was exported with"
        ) from error
    return proto


def _opset(onnx: Any, path: Path, proto: Any) -> int:
    found = {item.domain: int(item.version) for item in proto.opset_import}
    opset = next((found[domain] for domain in DOMAINS if domain in found), None)
    newest = int(onnx.defs.onnx_opset_version())
    if opset is None:
        raise ExportError(
            f"{path}: expected operators of ONNX, got the domains {', '.join(sorted(found))} alone"
        )
    if not OLDEST_OPSET <= opset <= newest:
        what = (
            "export it with a newer one"
            if opset < OLDEST_OPSET
            else "export it with an older one, or install a newer onnx"
        )
        raise ExportError(f"{path}: expected opset {OLDEST_OPSET} to {newest}, got {opset}; {what}")
    return opset


def _node(onnx: Any, proto: Any, index: int, path: Path) -> OnnxNode:
    return OnnxNode(
        op=proto.op_type,
        domain="" if proto.domain in DOMAINS else proto.domain,
        name=proto.name or next((name for name in proto.output if name), f"{proto.op_type}_{index}"),
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={item.name: _attribute(onnx, item, path) for item in proto.attribute},
        proto=proto,
    )


def _attribute(onnx: Any, proto: Any, path: Path) -> Any:
    if proto.type == onnx.AttributeProto.TENSOR:
        return _array(onnx, proto.t, path)
    if proto.type == onnx.AttributeProto.SPARSE_TENSOR:
        return _dense(onnx, proto.sparse_tensor, path)
    value = onnx.helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return [item.decode() if isinstance(item, bytes) else item for item in value]
    return value


def _array(onnx: Any, proto: Any, path: Path) -> np.ndarray:
    try:
        return np.asarray(onnx.numpy_helper.to_array(proto, str(path.parent)))
    except Exception as error:
        raise ExportError(
            f"{path}: initializer {proto.name!r} cannot be read ({_first_line(error)}); the file seems truncated"
        ) from error


def _dense(onnx: Any, proto: Any, path: Path) -> np.ndarray:
    """A sparse tensor, whose indices are flat ([nnz]) or by dimension ([nnz, rank])."""
    shape = tuple(proto.dims)
    values, indices = _array(onnx, proto.values, path), _array(onnx, proto.indices, path)
    flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    size = int(np.prod(shape))
    if values.shape != flat.shape or (flat.size and not 0 <= flat.min() <= flat.max() < size):
        raise ExportError(
            f"{path}: sparse initializer {proto.values.name!r}: expected an index below {size} for each of "
            f"{values.size} values, got indices of shape {list(indices.shape)}"
        )
    dense = np.zeros(size, values.dtype)
    dense[flat] = values
    return dense.reshape(shape)


def _value(onnx: Any, proto: Any) -> OnnxValue:
    tensor = proto.type.tensor_type
    if not proto.type.HasField("tensor_type"):
        raise ExportError(f"{proto.name!r}: expected a tensor, got a sequence, map or optional value")
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(
            int(size.dim_value) if size.HasField("dim_value") and size.dim_value > 0 else str(size.dim_param)
            for size in tensor.shape.dim
        )
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type or onnx.TensorProto.FLOAT))
    return OnnxValue(name=proto.name, dtype=dtype, shape=shape)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160] if lines else 'no message'}"
