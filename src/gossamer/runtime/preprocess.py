"""An image becomes the network's input, as the packed file's `preprocessing` block says.

>>> block = ImagePreprocessing(size=(1, 2), channels=1, mean=(0.5,), std=(0.5,))
>>> image_input(np.array([[0, 255]], np.uint8), block)
array([[[[-1.,  1.]]]], dtype=float32)
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import MissingExtraError, RuntimeFailure
from gossamer.graph import ImagePreprocessing


def image_input(image: NDArray[np.uint8], block: ImagePreprocessing) -> NDArray[np.float32]:
    """uint8 [H, W] or [H, W, C] (C: 1 grey, 3 RGB) to float32 [1, C, H, W]; resizing (bilinear) needs Pillow."""
    if not isinstance(block, ImagePreprocessing):
        raise RuntimeFailure(
            f"preprocessing: expected an ImagePreprocessing, got {block!r}; a packed file may hold none: make one, "
            "gossamer.graph.ImagePreprocessing(size=(H, W), channels=3, mean=(…), std=(…))"
        )
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
        raise RuntimeFailure(
            f"image: expected uint8 [H, W] or [H, W, C], got {image.dtype} {list(image.shape)}"
        )
    pixels = image if image.ndim == 3 else image[:, :, None]
    if pixels.shape[2] not in (1, 3):
        raise RuntimeFailure(f"image: expected 1 or 3 channels, got {pixels.shape[2]}; drop an alpha channel")
    pixels = _with_channels(pixels, block.channels)
    if pixels.shape[:2] != block.size:
        pixels = _resized(pixels, block.size)
    scaled = pixels.astype(np.float32) / np.float32(block.scale)
    normal = (scaled - np.array(block.mean, np.float32)) / np.array(block.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


def _with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma
    return np.rint(grey).astype(np.uint8)[:, :, None]


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        from PIL import Image
    except ImportError:
        found = f"{pixels.shape[0]}x{pixels.shape[1]}"
        raise MissingExtraError(
            f"image: expected {size[0]}x{size[1]} pixels, got {found}; resizing needs Pillow: pip install pillow"
        ) from None
    planes = [
        np.asarray(Image.fromarray(pixels[:, :, c]).resize(size[::-1], Image.Resampling.BILINEAR))
        for c in range(pixels.shape[2])
    ]
    return np.stack(planes, axis=2)
