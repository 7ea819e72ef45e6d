"""Writing tensors as a safetensors file, one after the other: a mapping that makes its tensors when asked holds one at a time.

The masks of compact layers and the dense form of their weights (`DenseState`) are such mappings: a run whose dense weights would not fit
into memory can still write them. Equal tensors give equal files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from gossamer.errors import CheckpointError, GossamerError
from gossamer.files import write_atomic

_KINDS = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None
) -> None:
    """A safetensors file, whole or not at all. Every tensor is asked for twice: for its size, and for its bytes."""
    try:
        write_atomic(path, _pieces(tensors, metadata or {}))
    except GossamerError as error:
        raise CheckpointError(f"{path.name} could not be saved: {error}") from None


def _pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    sizes = {name: _described(tensors[name]) for name in tensors}
    end = 0
    for name in sorted(
        sizes, key=lambda name: (-sizes[name][3], name)
    ):  # wide elements first, so that all are aligned
        kind, shape, nbytes, _ = sizes[name]
        begin, end = end, end + nbytes
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in header:
        if name != "__metadata__":
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            yield flat.view(torch.uint8).numpy().data


def _described(tensor: Tensor) -> tuple[str, list[int], int, int]:
    """Kind, shape, bytes, bytes of an element."""
    if tensor.dtype not in _KINDS:
        raise CheckpointError(
            f"expected one of {', '.join(map(str, _KINDS))}, got a tensor of {tensor.dtype}"
        )
    return (
        _KINDS[tensor.dtype],
        list(tensor.shape),
        tensor.numel() * tensor.element_size(),
        tensor.element_size(),
    )
