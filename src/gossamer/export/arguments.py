"""What `pack` is given, checked before the work starts; every message names the argument and what it should be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gossamer.errors import ExportError, FormatError, GraphError, PatternError
from gossamer.export.agreement import TOLERANCES
from gossamer.formats import for_pattern
from gossamer.graph import ImagePreprocessing
from gossamer.graph.strict_json import dumps, loads

if TYPE_CHECKING:
    from torch import Tensor

    from gossamer.export.draft import Draft
    from gossamer.export.subject import Subject

MAX_BATCH = 65536
_SHAPE = re.compile(r"\d+(x\d+)*")
_MAX_ELEMENTS = 2**31


class HasMasks(Protocol):
    """A Sparsifier, as far as packing needs it."""

    @property
    def masks(self) -> Mapping[str, Tensor]:
        """Masks by parameter name."""


def parse_shape(text: str) -> tuple[int, ...]:
    """Sizes of an input, batch first.

    >>> parse_shape("1x3x224x224")
    (1, 3, 224, 224)
    """
    sizes = tuple(int(part) for part in text.lower().split("x")) if _SHAPE.fullmatch(text.lower()) else ()
    count = 1
    for size in sizes:
        count *= size
    if not sizes or not 1 <= count <= _MAX_ELEMENTS or len(sizes) > 8:
        raise ExportError(
            f"input shape: expected sizes joined by x, batch first, as in 1x3x224x224, got {text!r}"
        )
    return sizes


def checked_target(path: str | Path, *, dtype: object, max_batch: object, tolerance: object) -> Path:
    """The file to write, after everything beside it has been checked."""
    target = Path(path)
    if dtype not in TOLERANCES:
        raise ExportError(f'dtype: expected "float16" or "float32", got {dtype!r}')
    if tolerance is not None and not (isinstance(tolerance, int | float) and 0 < tolerance < math.inf):
        usual = TOLERANCES[str(dtype)]
        raise ExportError(f"tolerance: expected a number above 0, such as {usual:g}, got {tolerance!r}")
    if not isinstance(max_batch, int) or isinstance(max_batch, bool) or not 1 <= max_batch <= MAX_BATCH:
        raise ExportError(f"max_batch: expected an integer from 1 to {MAX_BATCH}, got {max_batch!r}")
    if target.is_dir():
        raise ExportError(f"path: expected a file name, got the folder {target}")
    if not target.parent.is_dir():
        raise ExportError(f"path: expected an existing folder, got {target.parent}; make it first")
    return target


def masks_of(sparsifier: object) -> Mapping[str, Tensor]:
    """The masks of a Sparsifier."""
    found = getattr(sparsifier, "masks", None)
    if not isinstance(found, Mapping):
        raise ExportError(
            "masks: expected a Sparsifier, a mapping from parameter names to bool tensors, or None, "
            f"got {type(sparsifier).__name__}"
        )
    return found


def pattern_of(pattern: object, masks: object) -> str | None:
    """The pattern's text; a Sparsifier tells its method's pattern where none is named."""
    chosen = pattern if pattern is not None else getattr(getattr(masks, "method", None), "pattern", None)
    if chosen is None:
        return None
    text = str(chosen)
    try:
        for_pattern(text)
        _check_legal(text)
    except (FormatError, PatternError) as error:
        raise ExportError(f"pattern: {str(error).removeprefix('pattern: ')}") from error
    return text


def _check_legal(text: str) -> None:
    """PatternError where no mask can have the pattern. Patterns need torch, packing an ONNX file does not: without it nothing is checked,
    and weights are stored as if no pattern had been named."""
    try:
        from gossamer.sparsity.patterns import parse_pattern
    except ModuleNotFoundError:
        return
    parse_pattern(text)


def check_manifest(blocks: Mapping[str, object], *, texts: Mapping[str, object], labels: object) -> None:
    """Blocks must be mappings of JSON values, texts strings, labels a list of strings; None is left out."""
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise ExportError(f"{name}: expected a string, got {text!r}")
    if labels is not None and (
        not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels)
    ):
        raise ExportError(f"labels: expected a list of strings, got {labels!r}")
    for name, block in blocks.items():
        if block is None:
            continue
        if not isinstance(block, Mapping):
            raise ExportError(f"{name}: expected a mapping of JSON values, got {block!r}")
        try:
            dumps(dict(block))
        except FormatError as error:
            raise ExportError(f"{name}: {error}; write NumPy and torch numbers as float(x)") from error


def checked_preprocessing(block: object) -> ImagePreprocessing | None:
    """The block as a reader of the file will see it; ExportError for one that no reader would take."""
    if block is None:
        return None
    if not isinstance(block, ImagePreprocessing | Mapping):
        raise ExportError(
            f"preprocessing: expected an ImagePreprocessing, or a mapping as its to_json() gives, got {block!r}"
        )
    try:
        plain = block.to_json() if isinstance(block, ImagePreprocessing) else dict(block)
        return ImagePreprocessing.from_json(loads(dumps(plain)))
    except (FormatError, GraphError) as error:
        words = str(error) if str(error).startswith("preprocessing") else f"preprocessing: {error}"
        raise ExportError(f"{words}; see ImagePreprocessing") from error


def check_image_size(block: ImagePreprocessing | None, subject: Subject) -> None:
    """The image that the block makes is an example of one of the inputs."""
    if block is None:
        return
    image = (block.channels, *block.size)
    shapes = [tuple(tensor.shape) for tensor in subject.inputs]
    if all(shape[1:] != image for shape in shapes):
        found = ", ".join("x".join(map(str, shape)) for shape in shapes)
        raise ExportError(
            f"preprocessing: expected the channels and size of an input ({found}, batch first), got "
            f"{'x'.join(map(str, image))} (channels, height, width)"
        )


def check_labels(labels: Sequence[str] | None, draft: Draft) -> None:
    """One label for each entry along the last dimension of the first output."""
    name, value = draft.outputs[0]
    size = draft.shapes[value][-1]
    if labels is not None and len(draft.shapes[value]) == 2 and len(labels) != size:
        raise ExportError(
            f"labels: expected {size}, one for each entry of the output {name!r}, got {len(labels)}"
        )
