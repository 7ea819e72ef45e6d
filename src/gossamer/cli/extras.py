"""Which extra brings which package."""

from __future__ import annotations

from gossamer.errors import MissingExtraError

EXTRA_OF = {
    "typer": "cli",
    "rich": "cli",
    "PIL": "cli",
    "torch": "train",
    "pydantic": "train",
    "yaml": "train",
    "matplotlib": "train",
    "sklearn": "train",
    "onnx": "bench",
    "onnxscript": "bench",
    "onnxruntime": "bench",
    "openvino": "bench",
    "nncf": "bench",
    "psutil": "bench",
    "transformers": "huggingface",
    "lightning": "lightning",
    "accelerate": "accelerate",
    "ray": "ray",
}
"""Top-level module -> extra of pyproject.toml."""


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The helpful form of a failed import, if an extra mends it.

    >>> print(missing_extra(ModuleNotFoundError("…", name="torch")))
    this command needs torch, which is not installed. Install it with: pip install 'gossamer[train]'
    """
    module = (error.name or "").partition(".")[0]
    if module not in EXTRA_OF:
        return None
    return MissingExtraError(
        f"this command needs {module}, which is not installed. Install it with: pip install 'gossamer[{EXTRA_OF[module]}]'"
    )
