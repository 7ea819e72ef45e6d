"""Inputs and answers of `gossamer run`: arrays and images in files, labels for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import RuntimeFailure
from gossamer.graph import ImagePreprocessing, Input
from gossamer.runtime import image_input
from gossamer.runtime.arrays import read_arrays

Array = NDArray[np.float32]
Arrays = dict[str, NDArray[np.generic]]


def read_inputs(
    path: Path,
    inputs: Sequence[Input],
    preprocessing: ImagePreprocessing | None,
    states: Collection[str] = (),
) -> Arrays:
    """The session's inputs from a file; a missing batch dimension is added. Inputs named in `states` may be left out."""
    if path.suffix == ".npz":
        loaded = read_arrays(path)
        if not isinstance(loaded, dict):
            raise RuntimeFailure(f"{path}: expected arrays by name (.npz), got one array; call it .npy")
        given = loaded
        missing = [item.name for item in inputs if item.name not in given and item.name not in states]
        extra = [name for name in given if name not in {item.name for item in inputs}]
        if missing or extra:
            names = ", ".join(item.name for item in inputs)
            raise RuntimeFailure(
                f"{path}: expected one array for each input ({names}), got {', '.join(given) or 'none'}"
            )
    else:
        needed = [item for item in inputs if item.name not in states]
        if len(needed) != 1:
            names = ", ".join(item.name for item in needed)
            raise RuntimeFailure(
                f"the network has {len(needed)} inputs ({names}); expected an .npz file with these names"
            )
        found = read_arrays(path) if path.suffix == ".npy" else _image(path, needed[0], preprocessing)
        if isinstance(found, dict):
            raise RuntimeFailure(f"{path}: expected one array (.npy), got several by name; call it .npz")
        given = {needed[0].name: found}
    return {item.name: _shaped(given[item.name], item, path) for item in inputs if item.name in given}


def ranked(output: Array, labels: Sequence[str], top: int) -> list[list[dict[str, Any]]]:
    """The most probable labels of every example, of logits or probabilities [N, K].

    >>> ranked(np.log(np.array([[0.25, 0.75]], np.float32)), ["cat", "dog"], 1)
    [[{'label': 'dog', 'probability': 0.75}]]
    """
    if output.ndim != 2 or output.shape[1] != len(labels):
        return []
    if output.min() >= 0 and np.allclose(output.sum(axis=1), 1, atol=1e-3):
        probabilities = output.astype(np.float64)
    else:
        raised = np.exp(output.astype(np.float64) - output.max(axis=1, keepdims=True))
        probabilities = raised / raised.sum(axis=1, keepdims=True)
    return [
        [
            {"label": labels[index], "probability": round(float(row[index]), 6)}
            for index in np.argsort(-row, kind="stable")[:top]
        ]
        for row in probabilities
    ]


def _shaped(array: NDArray[Any], wanted: Input, path: Path) -> NDArray[np.generic]:
    if array.dtype.kind not in "fiub":
        raise RuntimeFailure(f"{path}: expected numbers for {wanted.name!r}, got {array.dtype}")
    if array.ndim == len(wanted.shape) - 1:
        array = array[None]
    if wanted.dtype == "int64" and array.dtype.kind == "f" and not (array == np.floor(array)).all():
        raise RuntimeFailure(
            f"{path}: expected whole numbers for {wanted.name!r}, got {array.dtype} with others"
        )
    return _converted(array, wanted, path)


def _converted(array: NDArray[Any], wanted: Input, path: Path) -> NDArray[np.generic]:
    """In the input's dtype; RuntimeFailure for a number that is too large for it."""
    with np.errstate(over="ignore", invalid="ignore"):
        made = np.ascontiguousarray(array, dtype=wanted.dtype)
    lost = np.isinf(made) & np.isfinite(array) if wanted.dtype == "float32" else made != array
    if lost.any():
        value = np.ravel(array)[lost.ravel()][0]
        raise RuntimeFailure(
            f"{path}: {value:g} does not fit {wanted.dtype}, the numbers of the input {wanted.name!r}; scale them down"
        )
    return made


def _image(path: Path, wanted: Input, preprocessing: ImagePreprocessing | None) -> Array:
    """An image as [1, C, H, W], prepared as the packed file says; without that, only scaled to 0..1."""
    from PIL import Image, UnidentifiedImageError

    if preprocessing is None:
        shape = wanted.shape
        sizes = [size for size in shape[1:] if isinstance(size, int)]
        if len(shape) != 4 or len(sizes) != 3 or sizes[0] not in (1, 3):
            raise RuntimeFailure(
                f"{path}: the input {wanted.name!r} [{'x'.join(map(str, shape))}] is no image; give an .npy file"
            )
        channels = sizes[0]
        preprocessing = ImagePreprocessing(
            size=(sizes[1], sizes[2]), channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels
        )
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if preprocessing.channels == 1 else "RGB"), np.uint8)
    except FileNotFoundError:
        raise RuntimeFailure(f"cannot read {path}: no such file") from None
    except UnidentifiedImageError:
        raise RuntimeFailure(f"{path}: expected .npy, .npz or an image that Pillow can read") from None
    except OSError as error:
        raise RuntimeFailure(f"cannot read the image {path}: {error}") from None
    return image_input(pixels, preprocessing)
