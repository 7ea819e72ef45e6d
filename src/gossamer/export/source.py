"""Where in the user's program a captured node comes from."""

import re
from pathlib import Path

import torch

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)\n\s*(?P<code>[^\n]*)')
_TORCH = str(Path(torch.__file__).parent)
_OWN = str(Path(__file__).parent)


def source_of(node: torch.fx.Node) -> str:
    """`FILE:LINE: code` of the innermost frame outside torch, with the module's path; the node's name where
    torch knows none."""
    where = module_of(node)
    frames = list(_FRAME.finditer(str(node.meta.get("stack_trace") or "")))
    outside = [f for f in frames if not f["file"].startswith((_TORCH, _OWN))]
    if not outside:
        return f"module {where}" if where else f"node {node.name} of the model"
    frame = outside[-1]
    text = f"{frame['file']}:{frame['line']}: {frame['code'].strip()}"
    return f"{text}  (in {where})" if where else text


def module_of(node: torch.fx.Node) -> str:
    """Path of the innermost module that made the node, e.g. layer1.0.conv1; empty for the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(list(stack.values())), ("", ""))[0] if stack else ""
    parts = [part for part in str(path).split(".") if part and part != "_orig_mod"]
    return ".".join(parts[1:] if parts[:1] == ["model"] else parts)


def is_leaf_module(node: torch.fx.Node) -> bool:
    """True if the innermost module is one of torch's own (Conv2d, ReLU, ...), so that its path names the
    node well."""
    stack = node.meta.get("nn_module_stack") or {}
    kind = next(reversed(list(stack.values())), ("", ""))[1] if stack else ""
    text = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return text.startswith("torch.nn.modules.") and not text.endswith((".Sequential", ".ModuleList"))
